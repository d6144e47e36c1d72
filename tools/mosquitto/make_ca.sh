#!/usr/bin/env bash
# Make a CA for testing, and certificates for a broker, a hub and devices:
#     make_ca.sh FOLDER HOST DEVICE...
# HOST is the broker's DNS name or IP address. A second run with more devices keeps the CA.
# The CA's key is stored unencrypted in FOLDER, for tests only. Store the CA of a production fleet elsewhere.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: make_ca.sh FOLDER HOST DEVICE..." >&2; exit 2; }
folder=$1 host=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
umask 077
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }

if [ ! -e "$folder/ca.crt" ]; then
    new_key "$folder/ca.key"
    openssl req -x509 -new -key "$folder/ca.key" -sha256 -days 3650 -subj "/CN=edge-agent test CA" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -out "$folder/ca.crt"
fi

# certificate NAME COMMON_NAME USAGE [SUBJECT_ALT_NAME]
certificate() {
    [ ! -e "$folder/$1.crt" ] || return 0
    new_key "$folder/$1.key"
    {
        echo "basicConstraints=critical,CA:FALSE"
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=$3"
        [ -z "${4:-}" ] || echo "subjectAltName=$4"
    } >"$folder/$1.ext"
    openssl req -new -key "$folder/$1.key" -subj "/CN=$2" |
        openssl x509 -req -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -sha256 -days 825 \
            -extfile "$folder/$1.ext" -out "$folder/$1.crt" 2>/dev/null
    rm "$folder/$1.ext"
}

case $host in
    *[!0-9.]*) certificate server "$host" serverAuth "DNS:$host" ;;
    *) certificate server "$host" serverAuth "IP:$host" ;;
esac
certificate hub hub clientAuth
for device in "$@"; do
    [[ $device =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$ && $device != peer && $device != hub ]] ||
        { echo "make_ca.sh: $device: expected a device name: letters, digits, '-', '_', '.', not peer or hub" >&2; exit 2; }
    certificate "$device" "$device" clientAuth
done
cp "$here/acl" "$folder/acl"
# The copy runs as whoever made the keys, who alone may read them, and keeps its state beside them.
sed "s#/etc/mosquitto/edge/#$folder/#; s#/var/lib/mosquitto/#$folder/#" "$here/mosquitto.conf" >"$folder/mosquitto.conf"
echo "user $(id -un)" >>"$folder/mosquitto.conf"
echo "$folder: CA, server, hub and $# device certificates; broker: mosquitto -c $folder/mosquitto.conf"
