#!/usr/bin/env bash
# Build Dockerfile.arm64 with buildah and write dist/edge-agent_arm64.tar.
#
# No image is pulled: the base is a minimal Debian 12 made here by mmdebstrap (set BASE to use a real one).
# arm64 programs run under qemu's user-mode emulation, which is registered with the kernel if necessary.
set -euo pipefail
cd "$(dirname "$0")/../../.."

store=${XDG_CACHE_HOME:-$HOME/.cache}/edge-agent/buildah
base=${BASE:-localhost/debian:bookworm-arm64}
b=(buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs)

binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
[ -e $binfmt/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$binfmt/register

if [ -z "${BASE:-}" ] && ! "${b[@]}" inspect --type image "$base" >/dev/null 2>&1; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    mmdebstrap --quiet --arch=arm64 --variant=minbase bookworm "$root/root.tar" $(tools/packaging/apt_sources.sh bookworm)
    container=$("${b[@]}" from --arch arm64 scratch)
    "${b[@]}" add "$container" "$root/root.tar" /
    "${b[@]}" commit --rm "$container" "$base" >/dev/null
fi

rm -f dist/edge-agent_arm64.tar
"${b[@]}" bud --isolation=chroot --arch arm64 --pull-never --format docker --network host \
    --build-arg BASE="$base" -f Dockerfile.arm64 -t localhost/edge-agent:arm64 .
"${b[@]}" push -q localhost/edge-agent:arm64 docker-archive:dist/edge-agent_arm64.tar:edge-agent:arm64
ls -s --block-size=M dist/edge-agent_arm64.tar
