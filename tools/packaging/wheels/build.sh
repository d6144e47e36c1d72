#!/usr/bin/env bash
# Build wheels into dist/: tools/packaging/wheels/build.sh [x86_64|aarch64|tools ...]; without arguments, all.
#
# x86_64 and aarch64 build edge-agent; "tools" builds edge-convert and edge-hub, which are pure Python.
# The kernel uses Python's limited API, so there is one wheel per architecture for every Python from 3.11 on.
# The native wheel is built with cc, the other one with Debian's cross compiler against the headers of Debian's
# arm64 Python, which are downloaded once. auditwheel reads the glibc symbols that the kernel needs and sets the
# oldest manylinux tag that has them. abi3audit checks that only the limited API is used.
set -euo pipefail
cd "$(dirname "$0")/../../.."

PATH=$PWD/.venv/bin:$PATH
native=$(uname -m)
headers=${XDG_CACHE_HOME:-$HOME/.cache}/edge-agent/arm64-python-headers

fetch_headers() {
    [ -e "$headers/usr/include/python3.11/Python.h" ] && return
    tools/ensure_system.sh mmdebstrap
    mkdir -p "$headers.$$"
    mmdebstrap --quiet --arch=arm64 --variant=extract --include=libpython3.11-dev \
        bookworm - $(tools/packaging/apt_sources.sh bookworm) >"$headers.$$/root.tar"
    tar -xf "$headers.$$/root.tar" -C "$headers.$$" \
        ./usr/include/python3.11 ./usr/include/aarch64-linux-gnu/python3.11
    rm "$headers.$$/root.tar"
    rm -rf "$headers"
    mv "$headers.$$" "$headers"
}

# The native wheel is of what an installation for development has compiled before.
build() { # ARCHITECTURE: a wheel with the tag "linux" in $raw
    if [ "$1" = "$native" ]; then
        python -m build --wheel --no-isolation --outdir "$raw" .
    elif [ "$1" = aarch64 ]; then
        tools/ensure_system.sh aarch64-linux-gnu-gcc
        fetch_headers
        _PYTHON_HOST_PLATFORM=linux-aarch64 CMAKE_TOOLCHAIN_FILE=$PWD/tools/packaging/wheels/aarch64-linux-gnu.cmake \
            python -m build --wheel --no-isolation --outdir "$raw" "-Cbuild-dir=build/wheel-$1" \
            -Ccmake.define.EDGE_AGENT_ARM64_HEADERS="$headers" .
    else
        echo "no cross compiler is set up from $native to $1" >&2
        exit 1
    fi
}

[ $# -gt 0 ] || set -- x86_64 aarch64 tools
for architecture in "${@}"; do
    if [ "$architecture" = tools ]; then
        rm -f dist/edge_{convert,hub}-*.whl
        for package in edge_convert edge_hub; do
            python -m build --wheel --no-isolation --outdir dist "tools/$package"
        done
        continue
    fi
    raw=$(mktemp -d)
    build "$architecture"
    rm -f dist/edge_agent-*_"$architecture".whl
    auditwheel repair --only-plat --wheel-dir dist "$raw"/*.whl
    rm -r "$raw"
    abi3audit --strict --summary dist/edge_agent-*_"$architecture".whl
done
