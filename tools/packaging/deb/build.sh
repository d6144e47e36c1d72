#!/usr/bin/env bash
# Build Debian packages for a release: tools/packaging/deb/build.sh bookworm|trixie [arm64|amd64 [DIR]]; DIR is dist/ by default.
#
#   edge-agent          the daemon, its libraries, its units, user, profiles
#   edge-agent-litert   LiteRT, for bundles that hold a .tflite network
#   edge-agent-onnx     ONNX Runtime, for bundles that hold an .onnx network
#
# /opt/edge-agent is a virtual environment laid out by hand: its interpreter is Debian's python3, its packages
# are the wheels of the target architecture, compiled to bytecode here (so that a read-only root starts fast).
# Wheels and bytecode are for one minor version of Python, so there is one package per Debian release. Its version
# ends in +deb12 or +deb13, so that an upgraded board installs the package of its new release.
set -euo pipefail
cd "$(dirname "$0")/../../.."
umask 022

case ${1:-} in
    bookworm) suffix=deb12 minor=3.11 next=3.12 ;;
    trixie) suffix=deb13 minor=3.13 next=3.14 ;;
    *) echo "found ${1:-nothing}, expected a Debian release: bookworm or trixie" >&2; exit 2 ;;
esac
release=$1
architecture=${2:-arm64}
out=${3:-dist}
case $architecture in
    arm64) machine=aarch64 ;;
    amd64) machine=x86_64 ;;
    *) echo "found $architecture, expected arm64 or amd64" >&2; exit 2 ;;
esac
python=.venv/bin/python
version=$($python -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
package_version=$version+$suffix
wheel=$(ls dist/edge_agent-"$version"-cp311-abi3-*"$machine".whl)
site=opt/edge-agent/lib/python$minor/site-packages

tools/ensure_system.sh cpio dpkg-deb
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

install_packages() { # TREE EXTRA: the wheel with an extra into TREE's site-packages
    tools/packaging/pip_for_board.sh "$machine" "$minor" install --target "$1/$site" --no-compile "$wheel${2:+[$2]}"
    rm -rf "$1/$site/bin"
    # What a board never reads: tests, compilers' code, stubs, headers, static libraries.
    find "$1/$site" -type d \( -name tests -o -path '*/numpy/_core/include' \) -prune -exec rm -r {} +
    rm -rf "$1/$site"/{numpy/{f2py,distutils},onnxruntime/{transformers,quantization,tools,datasets}}
    find "$1/$site" \( -name '*.pyi' -o -name '*.a' -o -name '*.h' \) -delete
    compile "$1"
}

compile() { # TREE: bytecode by the release's version of Python; if this machine does not have it, in a root that does
    local options=(-m compileall -q --invalidation-mode unchecked-hash -p /)
    if "python$minor" -c "" 2>/dev/null; then
        "python$minor" "${options[@]}" -s "$1" "$1/$site"
        return
    fi
    local root=$PWD/build/roots/$release inside
    tools/packaging/debian_root.sh "$release" "$root" python3 systemd procps
    inside=$(mktemp -d "$root/tmp/compile-XXXXXX")
    cp -a "$1/opt" "$inside/"
    tools/packaging/in_root.sh "$root" "python$minor" "${options[@]}" -s "${inside#"$root"}" "${inside#"$root"}/$site"
    rm -r "$1/opt"
    mv "$inside/opt" "$1/"
    rm -r "$inside"
}

package() { # NAME TREE DEPENDS SUMMARY
    mkdir -p "$2/DEBIAN" "$2/usr/share/doc/$1"
    cp LICENSE "$2/usr/share/doc/$1/copyright"
    cat >"$2/DEBIAN/control" <<CONTROL
Package: $1
Version: $package_version
Architecture: $architecture
Maintainer: edge-agent maintainers <maintainers@users.noreply.invalid>
Installed-Size: $(du -sk --exclude=DEBIAN "$2" | cut -f1)
Depends: $3
Section: science
Priority: optional
Description: $4
CONTROL
    dpkg-deb --root-owner-group -Zzstd -z9 --build "$2" "$out/$1_${package_version}_$architecture.deb" >/dev/null
    ls -s --block-size=k "$out/$1_${package_version}_$architecture.deb"
}

core=$work/edge-agent
install_packages "$core" metrics
mkdir -p "$core"/opt/edge-agent/bin "$core"/usr/{bin,lib/{systemd/system,sysusers.d,tmpfiles.d},share/doc/edge-agent} \
    "$core"/usr/share/edge-agent "$core"/DEBIAN
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' "$minor" >"$core"/opt/edge-agent/pyvenv.cfg
ln -s "/usr/bin/python$minor" "$core"/opt/edge-agent/bin/python3
printf '#!/opt/edge-agent/bin/python3\nimport sys\n\nfrom edge_agent.cli import main\n\nsys.exit(main())\n' \
    >"$core"/opt/edge-agent/bin/edge-agent
chmod 755 "$core"/opt/edge-agent/bin/edge-agent
ln -s /opt/edge-agent/bin/edge-agent "$core"/usr/bin/edge-agent
cp systemd/edge-agent.service systemd/edge-agent-metrics.service "$core"/usr/lib/systemd/system/
cp systemd/sysusers.conf "$core"/usr/lib/sysusers.d/edge-agent.conf
cp systemd/tmpfiles.conf "$core"/usr/lib/tmpfiles.d/edge-agent.conf
cp systemd/hardware.conf systemd/backoff.conf "$core"/usr/share/edge-agent/
cp README.md "$core"/usr/share/doc/edge-agent/
install -m 755 tools/packaging/deb/{postinst,prerm,postrm} "$core"/DEBIAN/

for extra in litert onnx; do
    install_packages "$work/with-$extra" "$extra"
done
# What both runtimes need cannot be in both of their packages.
comm -12 <(cd "$work/with-litert" && find . ! -type d | sort) <(cd "$work/with-onnx" && find . ! -type d | sort) |
    (cd "$work/with-litert" && cpio --quiet --pass-through --make-directories "$core" 2>/dev/null)
for extra in litert onnx; do
    comm -23 <(cd "$work/with-$extra" && find . ! -type d | sort) <(cd "$core" && find . ! -type d | sort) |
        (cd "$work/with-$extra" && cpio --quiet --pass-through --make-directories "$work/edge-agent-$extra")
done

package edge-agent "$core" "python$minor, python3 (>= $minor), python3 (<< $next), procps, systemd" \
    "active-inference agents and small neural policies on small boards"
package edge-agent-litert "$work/edge-agent-litert" "edge-agent (= $package_version)" "LiteRT runtime for edge-agent"
package edge-agent-onnx "$work/edge-agent-onnx" "edge-agent (= $package_version)" "ONNX Runtime for edge-agent"
