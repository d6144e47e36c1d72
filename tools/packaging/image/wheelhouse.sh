#!/usr/bin/env bash
# Collect an image's wheels: wheelhouse.sh device (dist/wheelhouse-aarch64) or wheelhouse.sh hub (dist/wheelhouse-hub).
set -euo pipefail
cd "$(dirname "$0")/../../.."

case ${1:-} in
    device) machine=aarch64 out=dist/wheelhouse-aarch64 ;;
    hub) machine=$(uname -m) out=dist/wheelhouse-hub ;;
    *) echo "found ${1:-nothing}, expected device or hub" >&2; exit 2 ;;
esac
wheel=$(ls dist/edge_agent-*-cp311-abi3-*"$machine".whl)
[ "$1" = hub ] && wheels=("$wheel" "$(ls dist/edge_hub-*.whl)[enrol,notify,oidc,otlp]") || wheels=("${wheel}[litert]")

rm -rf "$out"
tools/packaging/pip_for_board.sh "$machine" 3.11 download --dest "$out" "${wheels[@]}"
cp "$wheel" "$out"
[ "$1" = hub ] && cp dist/edge_hub-*.whl "$out"
du -sh "$out"
