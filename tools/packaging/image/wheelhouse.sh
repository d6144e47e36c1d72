#!/usr/bin/env bash
# Collect the aarch64 wheels of the image in dist/wheelhouse-aarch64.
set -euo pipefail
cd "$(dirname "$0")/../../.."

out=dist/wheelhouse-aarch64
wheel=$(ls dist/edge_agent-*-cp311-abi3-*aarch64.whl)

rm -rf "$out"
tools/packaging/pip_for_board.sh aarch64 3.11 download --dest "$out" "${wheel}[litert]"
cp "$wheel" "$out"
du -sh "$out"
