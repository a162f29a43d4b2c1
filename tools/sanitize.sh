#!/usr/bin/env bash
# sanitize.sh PYTHON: unit tests and fuzz targets against modules compiled with the address and undefined-behaviour
# sanitizers. Any finding ends the run. Works in build/sanitize; the environment's own modules stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath --no-symlinks "$1")
export IOTWIRE_SHARED_VECTORS=${IOTWIRE_SHARED_VECTORS:-$PWD/../shared/vectors}

tools/build-copy.sh "$python" sanitize
cd build/sanitize
export PYTHONPATH=$PWD/src

# Python itself is not instrumented: the runtime has to be there before it, and every allocation has to go through
# malloc to be watched. Leaks are not looked for, since Python keeps memory until it exits.
compiler=${CC:-$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')}
runtime=$(${compiler%% *} -print-file-name=libasan.so)
watched=(env "LD_PRELOAD=$runtime" PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 "$python")

"${watched[@]}" -c "
import iotwire._mqtt as module, os
assert os.path.realpath(module.__file__).startswith(os.path.realpath('src')), module.__file__"
# test_package.py is about the size and cost of the release build. The sanitizers write to the file descriptor of stderr
# and end the process: pytest must not have it.
IOTWIRE_TESTS=compiled "${watched[@]}" -m pytest -q --capture=sys --ignore tests/unit/test_package.py -o timeout=600 tests/unit
for target in tests/fuzz/fuzz_*.py; do
    "${watched[@]}" "$target" --seconds "${IOTWIRE_FUZZ_SECONDS:-20}" --seed 0
done
