#!/usr/bin/env bash
# install-toolchain.sh: what `make` and a build need, on a Debian or Ubuntu that has nothing yet. As root.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
needed=()
command -v make >/dev/null || needed+=(make)
command -v gcc >/dev/null || needed+=(gcc libc6-dev)
command -v python3 >/dev/null || needed+=(python3)
# A Python that is not Debian's own (pyenv, a container's) brings its headers and its venv module along.
if ! command -v python3 >/dev/null || [ "$(readlink -f "$(command -v python3)")" = "$(readlink -f /usr/bin/python3)" ]; then
    needed+=(python3-dev python3-venv)
fi
# Debian's pip trusts whom the system trusts, and a container trusts nobody yet.
[ -e /etc/ssl/certs/ca-certificates.crt ] || needed+=(ca-certificates)
if [ ${#needed[@]} -gt 0 ]; then
    apt-get update -q
    apt-get install -q -y --no-install-recommends "${needed[@]}"
fi
