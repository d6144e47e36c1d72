#!/usr/bin/env bash
# Run pip for another machine: pip_for_board.sh x86_64|aarch64 PYTHON install|download ARGUMENTS...
#
# Only wheels, at the pinned versions, for any glibc that Debian 12 can load and this version of Python, e.g. 3.11.
set -euo pipefail
machine=$1 python=$2 action=$3
shift 3
cd "$(dirname "$0")/../.."

platforms=()
for glibc in 2_17 2_24 2_26 2_27 2_28 2_31 2_34; do platforms+=(--platform "manylinux_${glibc}_$machine"); done
exec .venv/bin/python -m pip --disable-pip-version-check -q "$action" "${platforms[@]}" --implementation cp \
    --python-version "$python" --only-binary=:all: --constraint constraints.txt "$@"
