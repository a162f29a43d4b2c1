#!/usr/bin/env bash
# install-brokers.sh: install the brokers that the integration tests start themselves, on ports of their own.
# Debian and Ubuntu, as root or with a sudo that asks for no password; anywhere else it says what to install.
set -euo pipefail

if PATH=$PATH:/usr/sbin command -v mosquitto >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "Please install mosquitto with your system's package manager: the integration tests start it themselves." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=(env DEBIAN_FRONTEND=noninteractive)
elif sudo -n true 2>/dev/null; then
    as_root=(sudo -n env DEBIAN_FRONTEND=noninteractive)
else
    echo "Please install mosquitto as root: apt-get install --no-install-recommends mosquitto" >&2
    exit 1
fi

"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -q -y --no-install-recommends mosquitto

# The package starts a service on port 1883, now and at every boot. Nobody asked for that one.
if [ -d /run/systemd/system ]; then
    "${as_root[@]}" systemctl disable --now mosquitto
else
    "${as_root[@]}" /etc/init.d/mosquitto stop
    "${as_root[@]}" update-rc.d mosquitto disable
fi
