#!/usr/bin/env bash
# Print the apt source files of this machine if it runs Debian 12, so that mmdebstrap uses the same mirror;
# elsewhere nothing, and mmdebstrap uses Debian's own.
set -euo pipefail
. /etc/os-release
if [ "${ID:-}" = debian ] && [ "${VERSION_CODENAME:-}" = bookworm ]; then
    find /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null || true
fi
