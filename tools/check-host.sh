#!/usr/bin/env bash
# check-host.sh PYTHON: whether iotwire can be built here. What is missing is one sentence that names the package to install.
set -euo pipefail
python=$1

missing() {
    echo "iotwire cannot be built: $*" >&2
    exit 1
}

command -v "$python" >/dev/null || missing "'$python' was not found; install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3 python3-venv python3-dev), or name another with 'make PYTHON=...'."

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    missing "'$python' is Python $version, and 3.11 or newer is needed; install one (Debian, Ubuntu: apt-get install python3.11 python3.11-venv python3.11-dev) and name it with 'make PYTHON=python3.11 ...'."

"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    missing "'$python' has no venv module; install it (Debian, Ubuntu: apt-get install python$version-venv)."

header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
[ -f "$header" ] ||
    missing "the headers of Python $version were not found (no $header); install them (Debian, Ubuntu: apt-get install python$version-dev; Fedora: dnf install python3-devel)."

# What setuptools will call: CC where it is set, else the compiler that this Python was built with.
compiler=${CC:-$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')}
# shellcheck disable=SC2086  # a compiler may come with arguments
command -v ${compiler%% *} >/dev/null ||
    missing "the C compiler '${compiler%% *}' was not found; install it (Debian, Ubuntu: apt-get install gcc libc6-dev; Fedora: dnf install gcc)."
# shellcheck disable=SC2086
echo '#include <Python.h>' | $compiler -I"$(dirname "$header")" -fsyntax-only -x c - 2>/dev/null ||
    missing "the C compiler '${compiler%% *}' cannot compile a file that includes Python.h; install the C library's headers (Debian, Ubuntu: apt-get install libc6-dev)."
