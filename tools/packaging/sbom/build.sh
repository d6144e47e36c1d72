#!/usr/bin/env bash
# Write the bill of materials of each distribution, dist/NAME-VERSION.cdx.json (CycloneDX): the wheel, with all options a
# package or an image has, is installed with the pinned versions into an environment of its own, which is listed.
set -euo pipefail
cd "$(dirname "$0")/../../.."

tool=build/sbom/bin
machine=$(uname -m)
list() { # NAME OPTIONS WHEEL FOLDER-OF-PYPROJECT
    local place=build/sbom/$1
    rm -rf "$place"
    "$tool/python" -m venv --without-pip "$place"
    "$tool/pip" --disable-pip-version-check -q --python "$place/bin/python" install -c constraints.txt --find-links dist "$3$2"
    "$tool/cyclonedx-py" environment --output-reproducible --pyproject "$4/pyproject.toml" --mc-type application \
        --of JSON -o "dist/$(basename "$3" | cut -d- -f1,2).cdx.json" "$place"
}

rm -f dist/*.cdx.json
list edge-agent "[litert,metrics,onnx]" "$(ls dist/edge_agent-*-cp311-abi3-*"$machine".whl)" .
list edge-convert "" "$(ls dist/edge_convert-*.whl)" tools/edge_convert
list edge-hub "[enrol,notify,oidc,otlp]" "$(ls dist/edge_hub-*.whl)" tools/edge_hub
ls dist/*.cdx.json
