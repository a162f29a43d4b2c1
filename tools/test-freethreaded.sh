#!/usr/bin/env bash
# test-freethreaded.sh: what has to pass before iotwire says that it runs without the GIL. On a free-threaded CPython, with
# the GIL kept off: the unit tests of what is compiled and of what has threads, the races among them; then the races again
# under the thread sanitizer, of which any report ends the run. Works in build/freethreaded and build/tsan.
set -euo pipefail
cd "$(dirname "$0")/.."
export IOTWIRE_SHARED_VECTORS=${IOTWIRE_SHARED_VECTORS:-$PWD/../shared/vectors}
# A module that does not know free threading (a peer's, cryptography's) must not bring the GIL back for the tests.
export PYTHON_GIL=0

plain=$(tools/freethreaded-python.sh plain)
tsan=$(tools/freethreaded-python.sh tsan)

# Of what the tests want, all but mqtt5 and cryptography: those have no wheel for a free-threaded CPython, and Rust sources.
# Their tests skip. For the same reason an older wheel is taken before a newer source.
venv=build/venv-freethreaded
if ! [ "$venv/.complete" -nt pyproject.toml ] || ! [ "$venv/.complete" -nt "$plain" ]; then
    rm -rf "$venv"
    "$plain" -m venv "$venv"
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --prefer-binary \
        'setuptools>=77.0.3' 'Cython>=3.1,<4' 'pytest>=8.3' 'pytest-timeout>=2.3' 'hypothesis>=6.120' 'paho-mqtt==2.2.0' 'rich>=13.7' \
        'h11>=0.14'
    touch "$venv/.complete"
fi

echo "the unit tests, without the GIL"
tools/build-copy.sh "$venv/bin/python" freethreaded
(
    cd build/freethreaded
    export PYTHONPATH=$PWD/src
    ../../"$venv"/bin/python setup.py -q egg_info # the version, which an installed package has in its metadata
    # Left out: the size and the memory of the modules, which are promised for ordinary CPython.
    IOTWIRE_TESTS=compiled ../../"$venv"/bin/python -m pytest -q -o timeout=600 tests/unit \
        --deselect tests/unit/test_package.py::test_importing_the_codec_costs_little_memory \
        --deselect tests/unit/test_package.py::test_the_built_modules_together_are_small
)

echo "the races, under the thread sanitizer"
# The same interpreter but for the instrumentation, so its modules are made, and its packages installed, by the quick one.
tools/build-copy.sh "$venv/bin/python" tsan
cd build/tsan
export PYTHONPATH=$PWD/src:$(echo "$PWD/../../$venv"/lib/python3*/site-packages)
# All suppressions are of races in CPython. --capture=sys: reports go to the file descriptor of stderr.
cat "${tsan%/bin/*}/suppressions_free_threading.txt" ../../tools/tsan-suppressions.txt >suppressions.txt
TSAN_OPTIONS="halt_on_error=1 suppressions=$PWD/suppressions.txt" \
    "$tsan" -m pytest -q --capture=sys -o timeout=600 tests/unit/test_mqtt_races.py
