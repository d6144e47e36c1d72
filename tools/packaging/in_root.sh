#!/usr/bin/env bash
# Run a command in a root file system that debian_root.sh made: in_root.sh DIR COMMAND...
#
# The command runs as root with a clean environment, save pip's settings, CFLAGS and HYPOTHESIS_PROFILE, in separate mount and
# process namespaces: /proc, /sys and /dev are mounted only there, and its child processes end with it. It uses the
# machine's network.
set -euo pipefail
dir=$1
shift
cp -L /etc/resolv.conf "$dir/etc/resolv.conf"

settings=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt)
for name in $(compgen -e | grep -E '^(PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|PROXY|DEFAULT_TIMEOUT)|https?_proxy|no_proxy|CFLAGS|HYPOTHESIS_PROFILE)$'); do
    settings+=("$name=${!name}")
done

export DIR=$dir
exec unshare --mount --pid --fork --kill-child --propagation private bash -euc '
    mount -t proc proc "$DIR/proc"
    mount --rbind /sys "$DIR/sys"
    mount --rbind /dev "$DIR/dev"
    exec env -i "${@:1:$0}" chroot "$DIR" "${@:$0+1}"
' ${#settings[@]} "${settings[@]}" "$@"
