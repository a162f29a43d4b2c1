#!/usr/bin/env bash
# build-copy.sh PYTHON KIND: copy the tree to build/KIND and compile it in place there, the way setup.py's KIND says.
# A kind of its own never meets the release build's modules; only what changed since the last call is compiled again.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath --no-symlinks "$1") kind=$2

mkdir -p "build/$kind"
find "build/$kind" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
tar --create --exclude='*.so' --exclude=__pycache__ ext src tests pyproject.toml setup.py README.md LICENSE |
    tar --extract --directory "build/$kind"
cd "build/$kind"
IOTWIRE_BUILD=$kind "$python" setup.py -q build_ext --inplace
