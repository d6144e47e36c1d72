#!/usr/bin/env bash
# Print the apt sources for a Debian release, as arguments of mmdebstrap: apt_sources.sh RELEASE
#
# Prints the machine's own source files if it runs that release, else its Debian mirror. On a machine that is not Debian
# it prints nothing, and mmdebstrap uses Debian's own mirror.
set -euo pipefail
. /etc/os-release
[ "${ID:-}" = debian ] || exit 0
if [ "${VERSION_CODENAME:-}" = "$1" ]; then
    find /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null || true
else
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sort -u | head -n 1
fi
