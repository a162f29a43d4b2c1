#!/usr/bin/env bash
# coverage.sh PYTHON: which lines of the .py and .pyx files the unit tests reach. Works in build/coverage.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath --no-symlinks "$1")
export IOTWIRE_SHARED_VECTORS=${IOTWIRE_SHARED_VECTORS:-$PWD/../shared/vectors}

tools/build-copy.sh "$python" coverage
cd build/coverage
export PYTHONPATH=$PWD/src
# Tracing makes compiled code fifty times slower, so the tests that move megabytes stay out. sysmon, the default core from
# 3.14 on, does not see compiled lines.
status=0
COVERAGE_CORE=ctrace "$python" -m coverage run -m pytest -q -m "not slow" -o timeout=1200 \
    --ignore tests/unit/test_package.py --ignore tests/unit/test_mqtt_memory.py tests/unit || status=$?
"$python" -m coverage report
"$python" -m coverage html --quiet --directory html
echo "line by line: build/coverage/html/index.html"
exit "$status"
