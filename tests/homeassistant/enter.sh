#!/usr/bin/env bash
# Run a command in the root of Home Assistant, with a clean environment: tests/homeassistant/enter.sh ROOT COMMAND...
set -euo pipefail
root=$1
shift
kept=()
while IFS= read -r line; do kept+=("$line"); done < <(env | grep -E '^(https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY|PIP_CERT|SSL_CERT_FILE|REQUESTS_CA_BUNDLE)=' || true)
exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/opt/hass/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 \
    ${kept[@]+"${kept[@]}"} "$@"
