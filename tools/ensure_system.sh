#!/usr/bin/env bash
# Make sure that the commands given as arguments are available. As root, install Debian's packages for
# them; otherwise print one line with what is missing and how to install it, and exit with status 1.
set -euo pipefail

declare -A package=(
    [cc]="gcc libc6-dev"
    [python3]="python3 python3-venv"
    [mosquitto]="mosquitto"
    [mosquitto_pub]="mosquitto-clients"
    [mosquitto_passwd]="mosquitto"
    [openssl]="openssl"
    [initdb]="postgresql-15"
    [mkfs.ext4]="e2fsprogs"
    [setpriv]="util-linux"
    [ip]="iproute2"
    [chromium]="chromium fonts-dejavu-core"
    [aarch64-linux-gnu-gcc]="gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    [mmdebstrap]="mmdebstrap"
    [qemu-system-aarch64]="qemu-system-arm"
    [unshare]="util-linux"
    [clang]="clang"
    [promtool]="prometheus"
    [amtool]="prometheus-alertmanager"
    [dpkg-deb]="dpkg"
    [cpio]="cpio"
    [depmod]="kmod"
    [zstd]="zstd"
    [systemd-analyze]="systemd"
    [buildah]="buildah"
    [node]="nodejs"
    [npm]="npm"
    [qemu-aarch64-static]="qemu-user-static"
)
PATH="$PATH:/usr/sbin:/sbin:/usr/lib/postgresql/15/bin"

missing=()
for command in "$@"; do
    command -v "$command" >/dev/null || missing+=(${package[$command]:-$command})
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing: ${missing[*]}; install with: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
