#!/usr/bin/env bash
# Run pip for another machine: pip_for_board.sh x86_64|aarch64 install|download ARGUMENTS...
#
# Only wheels, at the pinned versions, for any glibc that Debian 12 can load and this machine's Python version.
set -euo pipefail
machine=$1 action=$2
shift 2
cd "$(dirname "$0")/../.."

platforms=()
for glibc in 2_17 2_24 2_26 2_27 2_28 2_31 2_34; do platforms+=(--platform "manylinux_${glibc}_$machine"); done
minor=$(.venv/bin/python -c 'import sys; print("3.%d" % sys.version_info.minor)')
exec .venv/bin/python -m pip --disable-pip-version-check -q "$action" "${platforms[@]}" --implementation cp \
    --python-version "$minor" --only-binary=:all: --constraint constraints.txt "$@"
