#!/usr/bin/env bash
# check-dist.sh PYTHON: what would be released, tried as a user gets it. sdist -> wheel built from that sdist -> a new
# virtual environment outside the checkout -> tests, as the sdist carries them, against the installed wheel: those of the
# package, of the codec, and of the commands, which come through all of it. Leaves both in dist/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath --no-symlinks "$1")
export IOTWIRE_SHARED_VECTORS=${IOTWIRE_SHARED_VECTORS:-$PWD/../shared/vectors}

mkdir -p build dist
rm -f dist/*.tar.gz dist/*.whl # wheels of boards lie in a folder there, maybe just now
"$python" -m build --outdir dist . >build/dist.log 2>&1 || { cat build/dist.log; exit 1; }
"$python" tools/check_dist_contents.py dist/*.tar.gz dist/*.whl

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar --extract --gzip --file dist/*.tar.gz --directory "$work" --strip-components 1
"$python" -m venv "$work/.venv"
"$work/.venv/bin/python" -m pip --disable-pip-version-check install --quiet "$(echo dist/*.whl)[cli,test]"
cd "$work"
.venv/bin/python -c "
import iotwire._mqtt as module
assert '.venv' in module.__file__, module.__file__"
.venv/bin/python -m pytest -q tests/unit/test_package.py tests/unit/test_mqtt_*.py tests/unit/test_cli*.py tests/unit/test_emulator_cli.py
