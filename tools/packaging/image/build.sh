#!/usr/bin/env bash
# Build an image with buildah: build.sh device writes dist/edge-agent_arm64.tar, build.sh hub dist/edge-hub_ARCH.tar.
#
# No image is pulled: the base is a minimal Debian 12 made here by mmdebstrap (set BASE to use a real one).
# arm64 programs run under qemu's user-mode emulation, which is registered with the kernel if necessary.
set -euo pipefail
cd "$(dirname "$0")/../../.."

native=$(dpkg --print-architecture)
case ${1:-} in
    device) name=edge-agent architecture=arm64 file=Dockerfile.arm64 ;;
    hub) name=edge-hub architecture=$native file=deploy/hub/Dockerfile ;;
    *) echo "found ${1:-nothing}, expected device or hub" >&2; exit 2 ;;
esac
store=${XDG_CACHE_HOME:-$HOME/.cache}/edge-agent/buildah
base=${BASE:-localhost/debian:bookworm-$architecture}
b=(buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs)

if [ "$architecture" != "$native" ]; then
    binfmt=/proc/sys/fs/binfmt_misc
    [ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
    [ -e $binfmt/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$binfmt/register
fi

if [ -z "${BASE:-}" ] && ! "${b[@]}" inspect --type image "$base" >/dev/null 2>&1; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    mmdebstrap --quiet --arch="$architecture" --variant=minbase bookworm "$root/root.tar" \
        $(tools/packaging/apt_sources.sh bookworm)
    container=$("${b[@]}" from --arch "$architecture" scratch)
    "${b[@]}" add "$container" "$root/root.tar" /
    "${b[@]}" commit --rm "$container" "$base" >/dev/null
fi

out=dist/${name}_$architecture.tar
rm -f "$out"
"${b[@]}" bud --isolation=chroot --arch "$architecture" --pull-never --format docker --network host \
    --build-arg BASE="$base" -f "$file" -t "localhost/$name:$architecture" .
"${b[@]}" push -q "localhost/$name:$architecture" "docker-archive:$out:$name:$architecture"
ls -s --block-size=M "$out"
