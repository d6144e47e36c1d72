#!/usr/bin/env bash
# Collect the aarch64 wheels of the image in dist/wheelhouse-aarch64, for Debian 12's Python 3.11.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=dist/wheelhouse-aarch64
wheel=$(ls dist/edge_agent-*-cp311-abi3-*aarch64.whl)
platforms=()
for glibc in 2_17 2_24 2_26 2_27 2_28 2_31 2_34; do platforms+=(--platform "manylinux_${glibc}_aarch64"); done

rm -rf "$out"
.venv/bin/python -m pip --disable-pip-version-check -q download --dest "$out" "${platforms[@]}" \
    --implementation cp --python-version 3.11 --only-binary=:all: --constraint constraints.txt "${wheel}[litert]"
cp "$wheel" "$out"
du -sh "$out"
