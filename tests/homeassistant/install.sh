#!/usr/bin/env bash
# Install Home Assistant into build/homeassistant/root, a Debian 13 of its own (it needs Python 3.13 or newer), unless
# it is there already. What pip needs on this machine (its configuration, certificates) is carried into the root.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=2026.2.3
root=$PWD/build/homeassistant/root
[ -e "$root/opt/hass/.installed-$version" ] && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "tests/homeassistant/install.sh: run as root: Home Assistant is installed into a chroot" >&2
    exit 1
fi
tools/ensure_system.sh mmdebstrap

making=$root.making
rm -rf "$root" "$making"
mkdir -p "$(dirname "$root")"
mmdebstrap --quiet --variant=minbase \
    --include=python3,python3-venv,python3-dev,gcc,g++,libffi-dev,ca-certificates,tzdata,procps \
    trixie "$making" https://deb.debian.org/debian

carry() { # FILE: the same path inside
    [ -e "$1" ] || return 0
    mkdir -p "$making$(dirname "$1")"
    cp -rL "$1" "$making$1"
}
for file in /etc/pip.conf /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do carry "$file"; done

tests/homeassistant/enter.sh "$making" python3 -m venv /opt/hass
tests/homeassistant/enter.sh "$making" /opt/hass/bin/pip --disable-pip-version-check -q install "homeassistant==$version"
touch "$making/opt/hass/.installed-$version"
mv "$making" "$root"
