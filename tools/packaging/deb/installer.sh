#!/usr/bin/env bash
# Make the program that installs updates, one file for Debian's python3: tools/packaging/deb/installer.sh FILE
#
# edge_agent/__init__.py stays out: it imports what only the virtual environment has.
set -euo pipefail
cd "$(dirname "$0")/../../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/edge_agent/package_installer" "$(dirname "$1")"
cp edge_agent/package_installer/*.py "$work/edge_agent/package_installer/"
find "$work" -exec touch --date=1980-01-02 {} +
python3 -m zipapp "$work" --main edge_agent.package_installer.command:main --output "$1"
