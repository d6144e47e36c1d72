#!/usr/bin/env bash
# Make a Debian root file system: debian_root.sh RELEASE DIR [PACKAGE...]
#
# An existing root with the same packages is kept. `in_root.sh DIR COMMAND...` runs a command in it.
# pip's configuration and the machine's CA certificates are copied, so that pip in the root finds the same index.
set -euo pipefail
release=$1 dir=$2
shift 2
recipe="$release $*"

if [ "$(id -u)" != 0 ]; then
    echo "debian_root.sh: a root file system needs root; run this with sudo" >&2
    exit 1
fi
[[ $dir = /* ]] || dir=$PWD/$dir
mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9
[ "$(cat "$dir.recipe" 2>/dev/null)" = "$recipe" ] && exit 0

cd "$(dirname "$0")/../.."
tools/ensure_system.sh mmdebstrap unshare
rm -rf "$dir" "$dir.recipe"
mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "ca-certificates${*:+,$*}")" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$release" "$dir" $(tools/packaging/apt_sources.sh "$release")
cp /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/certs/"
for config in /etc/pip.conf ~/.config/pip/pip.conf ~/.pip/pip.conf; do
    [ -e "$config" ] && install -D -m 644 "$config" "$dir/root/.config/pip/pip.conf"
done
echo "$recipe" >"$dir.recipe"
