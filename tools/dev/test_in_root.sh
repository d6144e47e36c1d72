#!/usr/bin/env bash
# Build this tree and run its tests in a root file system of another Debian release:
# test_in_root.sh RELEASE PYTEST-ARGUMENT...
#
# The root stays in build/roots/RELEASE-test, with the tree in /src and an environment in /venv, so that a second
# run only copies changes. Compiler warnings are errors there.
set -euo pipefail
release=$1
shift
cd "$(dirname "$0")/../.."

root=$PWD/build/roots/$release-test
tools/packaging/debian_root.sh "$release" "$root" python3-venv python3-dev gcc libc6-dev
exec 9>"$root.in-use"
flock 9

# The tree as it would be committed, in place of the last one; modification times stay, for ninja.
mkdir -p "$root/src"
find "$root/src" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard |
    (xargs -0 sh -c 'for f; do [ -e "$f" ] && printf "%s\0" "$f"; done' sh) |
    tar --null --files-from=- --create --file=- | tar --extract --file=- --directory="$root/src"

run() { tools/packaging/in_root.sh "$root" "$@"; }
run_pip() { run /venv/bin/python -m pip --disable-pip-version-check -qq "$@"; }

programs=(git make mosquitto mosquitto-clients openssl openssh-client iproute2 procps prometheus systemd)
if [ "$(cat "$root/programs" 2>/dev/null)" != "${programs[*]}" ]; then
    run env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' \
        sh "${programs[@]}" >/dev/null
    echo "${programs[*]}" >"$root/programs"
fi

recipe=$(cat pyproject.toml tools/*/pyproject.toml constraints.txt CMakeLists.txt edge_agent/*/kernel/* | sha256sum)
if [ "$(cat "$root/venv/recipe" 2>/dev/null)" != "$recipe" ]; then
    [ -x "$root/venv/bin/python" ] || run python3 -m venv /venv
    run_pip install -c /src/constraints.txt scikit-build-core cmake ninja hatchling editables
    CFLAGS=-Werror run_pip install -c /src/constraints.txt --no-build-isolation -e '/src[dev]' -e /src/tools/edge_convert -e /src/tools/edge_hub
    echo "$recipe" >"$root/venv/recipe"
fi
run sh -c 'cd /src && exec /venv/bin/python -m pytest "$@"' sh "$@"
