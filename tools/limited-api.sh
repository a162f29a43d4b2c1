#!/usr/bin/env bash
# limited-api.sh PYTHON: the modules that every Python from 3.11 on can load (setup.py's IOTWIRE_LIMITED_API): the unit tests
# against them, then their wheel, looked through for any symbol that the stable ABI does not have. Works in
# build/limited-api; leaves the wheel in build/limited-api/dist.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath --no-symlinks "$1")
export IOTWIRE_SHARED_VECTORS=${IOTWIRE_SHARED_VECTORS:-$PWD/../shared/vectors}
export IOTWIRE_LIMITED_API=1

tools/build-copy.sh "$python" release limited-api
cd build/limited-api
export PYTHONPATH=$PWD/src
"$python" -c "
import iotwire._mqtt as module
assert module.__file__.endswith('build/limited-api/src/iotwire/_mqtt.abi3.so'), module.__file__"
# All that come near the modules. In test_package.py the cost of an import is asked of the release modules alone, and the signature of a class
# must be absent here.
IOTWIRE_TESTS=compiled "$python" -m pytest -q tests/unit

rm -rf dist
"$python" -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
"$python" -m abi3audit --strict --summary dist/iotwire-*-cp311-abi3-*.whl
