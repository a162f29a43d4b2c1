#!/usr/bin/env bash
# develop.sh PYTHON VENV EXTRAS: bring a virtual environment up to date with pyproject.toml and ext/.
# Makes it where there is none, installs iotwire editable with these extras, and compiles what changed.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 venv=$2 extras=$3
pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet)

tools/check-host.sh "$python"
if [ ! -x "$venv/bin/pip" ]; then
    echo "making $venv"
    "$python" -m venv --clear "$venv"
fi

if [ pyproject.toml -nt "$venv/.installed" ] || [ setup.py -nt "$venv/.installed" ]; then
    echo "installing iotwire[$extras] into $venv and compiling it"
    # Without build isolation: the environment then has Cython and setuptools to compile again when a .pyx changes.
    "$venv/bin/python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' >"$venv/build-requires.txt"
    "${pip[@]}" --requirement "$venv/build-requires.txt"
    "${pip[@]}" --no-build-isolation --editable ".[$extras]"
    touch "$venv/.installed" "$venv/.compiled"
else
    if [ -n "$(find ext -newer "$venv/.compiled" -print -quit)" ]; then
        echo "compiling what changed"
        "$venv/bin/python" setup.py -q build_ext --inplace
        touch "$venv/.compiled"
    fi
    # iotwire itself is installed already: this adds what the extras ask for, and compiles nothing.
    "${pip[@]}" "iotwire[$extras]"
fi

case ",$extras," in
*,bench,*)
    # AWS's SDK asks for an older awscrt than the one that is measured, and works with it.
    "${pip[@]}" --no-deps awsiotsdk==1.31.0
    ;;
esac
