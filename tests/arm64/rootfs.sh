#!/usr/bin/env bash
# Make the root file system of the test guest: rootfs.sh RELEASE KERNEL INITRAMFS
#
# A Debian arm64 tree, extracted and not configured (no arm64 program has to run here), packed as an
# initramfs, and the kernel that goes with it. dpkg's database is filled in from the packages themselves, so
# that apt in the guest installs a .deb as it does on a board.
set -euo pipefail
release=$1 kernel=$2 initramfs=$3
here=$(cd "$(dirname "$0")" && pwd)
PATH="$PATH:/usr/sbin:/sbin"

packages=(
    apt sudo mosquitto mosquitto-clients python3 ca-certificates linux-image-cloud-arm64
    systemd systemd-sysv udev kmod iproute2 procps util-linux mount login passwd
    base-files base-passwd bash coreutils dash diffutils dpkg findutils gpgv grep hostname libc-bin mawk sed tar zstd
)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

# Runs between extraction and cleaning, while the .deb files are still there.
cat >"$work/register" <<'HOOK'
#!/bin/sh
set -e
for deb in "$1"/var/cache/apt/archives/*.deb; do
    dpkg-deb --field "$deb" | sed '1a Status: install ok installed'
    echo
    name=$(dpkg-deb --field "$deb" Package)
    [ "$(dpkg-deb --field "$deb" Multi-Arch)" = same ] && name=$name:arm64
    : >"$1/var/lib/dpkg/info/$name.list"
done >>"$1/var/lib/dpkg/status"
HOOK
chmod +x "$work/register"

mmdebstrap --quiet --arch=arm64 --variant=extract \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --extract-hook="$work/register" \
    --include="$(IFS=,; echo "${packages[*]}")" "$release" "$root" $("$here"/../../tools/packaging/apt_sources.sh "$release")

# What the packages' own scripts would have done.
cp "$root"/usr/share/base-passwd/passwd.master "$root"/etc/passwd
cp "$root"/usr/share/base-passwd/group.master "$root"/etc/group
ln -sf mawk "$root"/usr/bin/awk
: >"$root"/etc/machine-id
echo board >"$root"/etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 board\n' >"$root"/etc/hosts
for service in auth account password session session-noninteractive; do
    echo "${service%%-*} required pam_permit.so" >"$root/etc/pam.d/common-$service"
done
ln -sf lib/systemd/systemd "$root"/init
depmod -b "$root" "$(ls "$root"/lib/modules)"
printf 'u mosquitto - "MQTT broker" /var/lib/mosquitto\n' >"$root"/usr/lib/sysusers.d/mosquitto.conf
# Services that a board starts and these tests do not look at.
for unit in systemd-timesyncd systemd-networkd systemd-resolved e2scrub_reap fstrim apt-daily apt-daily-upgrade \
    dpkg-db-backup systemd-pcrphase systemd-pcrphase-sysinit; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done
for unit in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit.timer"
done

mv "$root"/boot/vmlinuz-* "$kernel"
# debconf's hook wants perl.
rm "$root"/etc/apt/apt.conf.d/70debconf
rm -rf "$root"/boot "$root"/usr/share/{doc,man,info,locale,i18n,zoneinfo} "$root"/usr/lib/udev/hwdb.bin \
    "$root"/usr/lib/udev/hwdb.d "$root"/usr/lib/python3.*/{lib2to3,pydoc_data} \
    "$root"/lib/modules/*/kernel/{sound,fs/{xfs,btrfs,ocfs2,nfs,nfsd,smb,ceph},drivers/{gpu,infiniband,scsi,target}}
(cd "$root" && find . -print0 | cpio --null --create --format=newc --quiet) | zstd -q -3 -T0 >"$initramfs"
