#!/usr/bin/env bash
# Build this tree and run its tests in a root file system of another Debian release:
# test_in_root.sh short|full RELEASE PYTEST-ARGUMENT...
#
# The root stays in build/roots/RELEASE-test, with the tree in /src and an environment in /venv, so that a second
# run only copies changes. Compiler warnings are errors there. "short" installs what pytest and the daemon need; "full"
# installs everything for development and the programs that the tests start.
set -euo pipefail
form=$1 release=$2
shift 2
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

programs=(git make mosquitto mosquitto-clients openssl iproute2 procps prometheus systemd)
if [ "$form" = full ] && [ "$(cat "$root/programs" 2>/dev/null)" != "${programs[*]}" ]; then
    run env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' \
        sh "${programs[@]}" >/dev/null
    echo "${programs[*]}" >"$root/programs"
fi

recipe=$(cat pyproject.toml tools/*/pyproject.toml constraints.txt CMakeLists.txt edge_agent/*/kernel/* | sha256sum)
if [ "$(cat "$root/venv/$form" 2>/dev/null)" != "$recipe" ]; then
    [ -x "$root/venv/bin/python" ] || run python3 -m venv /venv
    case $form in
        short) wanted=(-e /src pytest pytest-timeout hypothesis rich) ;;
        full) wanted=(-e '/src[dev]' -e /src/tools/edge_convert -e /src/tools/edge_hub) ;;
    esac
    run_pip install -c /src/constraints.txt scikit-build-core cmake ninja hatchling editables
    CFLAGS=-Werror run_pip install -c /src/constraints.txt --no-build-isolation "${wanted[@]}"
    # The engine's tests read pymdp's models as the converter does; the reader needs numpy and rich alone.
    [ "$form" = full ] || run_pip install --no-deps --no-build-isolation -e /src/tools/edge_convert
    echo "$recipe" >"$root/venv/$form"
fi
run sh -c 'cd /src && exec /venv/bin/python -m pytest "$@"' sh "$@"
