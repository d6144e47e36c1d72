# What the packages have in common; sourced by build.sh (the device) and hub.sh (the hub), with their arguments.
#
# A package's program is a virtual environment laid out by hand in /opt/$program: its interpreter is Debian's
# python3, its packages are wheels of the target architecture, compiled to bytecode here (so that a read-only root
# starts fast). Wheels and bytecode are for one minor version of Python, so there is one package per Debian release.
# Its version ends in +deb12 or +deb13, so that an upgraded machine installs the package of its new release.
# The caller sets $program (the name in /opt and /usr/bin) and $module (what the program runs).
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
site=opt/$program/lib/python$minor/site-packages

tools/ensure_system.sh cpio dpkg-deb
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

install_packages() { # TREE WHEEL...: wheels, and what they need, into TREE's site-packages
    local tree=$1
    shift
    tools/packaging/pip_for_board.sh "$machine" "$minor" install --target "$tree/$site" --no-compile "$@"
    set -- "$tree"
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

interpreter() { # TREE: the environment's python3 and the command that it runs
    mkdir -p "$1/opt/$program/bin" "$1/usr/bin"
    printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' "$minor" >"$1/opt/$program/pyvenv.cfg"
    ln -s "/usr/bin/python$minor" "$1/opt/$program/bin/python3"
    printf '#!/opt/%s/bin/python3\nimport sys\n\nfrom %s import main\n\nsys.exit(main())\n' "$program" "$module" \
        >"$1/opt/$program/bin/$program"
    chmod 755 "$1/opt/$program/bin/$program"
    ln -s "/opt/$program/bin/$program" "$1/usr/bin/$program"
}

python_needed="python$minor, python3 (>= $minor), python3 (<< $next)"

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

