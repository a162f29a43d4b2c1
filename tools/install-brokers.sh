#!/usr/bin/env bash
# install-brokers.sh: install the servers that the integration tests start themselves, on ports of their own: mosquitto,
# RabbitMQ, NATS and nginx from the system's packages, aedes from npm into the cache, at the versions of tools/brokers. And
# the proxies that tests go through: tinyproxy and microsocks, from packages without a service.
# Debian and Ubuntu, as root or with a sudo that asks for no password; anywhere else it says what to install.
#
# IOTWIRE_CACHE: where to keep what comes from npm, instead of ~/.cache/iotwire.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${IOTWIRE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/iotwire}/brokers

say() { echo "$*" >&2; }

is_installed() { PATH=$PATH:/usr/sbin command -v "$1" >/dev/null; }

install_packages() {
    local service services=() packages=() policy=/usr/sbin/policy-rc.d
    for service in mosquitto rabbitmq-server nats-server nginx; do
        is_installed "$service" || services+=("$service")
    done
    packages=("${services[@]}")
    # And other people's clients, which connect to our emulator.
    is_installed mosquitto_pub || packages+=(mosquitto-clients)
    is_installed curl || packages+=(curl ca-certificates)
    is_installed openssl || packages+=(openssl)
    is_installed tinyproxy || packages+=(tinyproxy-bin)
    is_installed microsocks || packages+=(microsocks)
    is_installed node || packages+=(nodejs)
    is_installed npm || packages+=(npm) # where it did not come with a Node.js that is not Debian's
    if [ ${#packages[@]} = 0 ]; then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        say "Please install ${packages[*]} with your system's package manager: the integration tests start them themselves."
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=(env DEBIAN_FRONTEND=noninteractive)
    elif sudo -n true 2>/dev/null; then
        as_root=(sudo -n env DEBIAN_FRONTEND=noninteractive)
    else
        say "Please install them as root: apt-get install --no-install-recommends ${packages[*]}"
        exit 1
    fi

    # The packages start services on the well-known ports, now and at every boot. Nobody asked for those: nothing is
    # started while they are installed, nor enabled after it. A policy that the machine has already stays as it is.
    if [ ! -e $policy ]; then
        trap '"${as_root[@]}" rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
        "${as_root[@]}" chmod 755 $policy
    fi
    is_installed epmd || services+=(epmd) # of Erlang, which RabbitMQ brings along
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" apt-get install -q -y --no-install-recommends "${packages[@]}"
    for service in "${services[@]}"; do
        disable_service "$service"
    done
}

disable_service() {
    local unit
    if [ -d /run/systemd/system ]; then
        for unit in "$1.socket" "$1.service"; do
            if [ -n "$(systemctl list-unit-files --no-legend "$unit")" ]; then
                "${as_root[@]}" systemctl disable --now "$unit"
            fi
        done
    elif [ -e "/etc/init.d/$1" ]; then
        "${as_root[@]}" update-rc.d "$1" disable # without its `stop`: RabbitMQ's starts an epmd, to ask it what runs
    fi
}

# What is in its place is whole: it is installed beside it, without the packages' own scripts, and then renamed.
install_from_npm() {
    local place work
    place=$cache/npm-$(sha256sum <"$here/brokers/package-lock.json" | cut -c 1-12)
    if [ -d "$place" ]; then
        return
    fi
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/installing-XXXXXX")
    cp "$here"/brokers/package*.json "$work"
    if (cd "$work" && npm ci --ignore-scripts --no-audit --no-fund) && mv -T "$work" "$place" 2>/dev/null || [ -d "$place" ]; then
        rm -rf "$work"
    else
        rm -rf "$work"
        exit 1
    fi
}

install_packages
install_from_npm
