#!/usr/bin/env bash
# build-copy.sh PYTHON KIND [FOLDER]: copy the tree to build/FOLDER (build/KIND where none is named) and compile it in place
# there, the way setup.py's KIND says. A folder of its own never meets the modules of another build; only what changed
# since the last call is compiled again.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath --no-symlinks "$1") kind=$2 folder=build/${3:-$2}

mkdir -p "$folder"
find "$folder" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
tar --create --exclude='*.so' --exclude='*.egg-info' --exclude=__pycache__ ext src tests pyproject.toml setup.py README.md LICENSE tools/bill_of_materials.py |
    tar --extract --directory "$folder"
cd "$folder"
IOTWIRE_BUILD=$kind "$python" setup.py -q build_ext --inplace
