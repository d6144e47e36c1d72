#!/usr/bin/env bash
# Build Debian packages for a release: tools/packaging/deb/build.sh bookworm|trixie [arm64|amd64 [DIR]]; DIR is dist/ by default.
#
#   edge-agent          the daemon, its libraries, its units, user, profiles
#   edge-agent-litert   LiteRT, for bundles that hold a .tflite network
#   edge-agent-onnx     ONNX Runtime, for bundles that hold an .onnx network
#
# hub.sh builds the hub's package in the same way (layout.sh).
set -euo pipefail
cd "$(dirname "$0")/../../.."
program=edge-agent module=edge_agent.cli
source tools/packaging/deb/layout.sh

core=$work/edge-agent
install_packages "$core" "$wheel[metrics]"
interpreter "$core"
mkdir -p "$core"/usr/{lib/{systemd/system,sysusers.d,tmpfiles.d},share/doc/edge-agent,share/edge-agent} "$core"/DEBIAN
cp systemd/edge-agent{,-metrics,-update,-repair}.service systemd/edge-agent-update.path "$core"/usr/lib/systemd/system/
tools/packaging/deb/installer.sh "$core"/usr/lib/edge-agent/package_installer.pyz
cp systemd/sysusers.conf "$core"/usr/lib/sysusers.d/edge-agent.conf
cp systemd/tmpfiles.conf "$core"/usr/lib/tmpfiles.d/edge-agent.conf
cp systemd/hardware.conf systemd/backoff.conf "$core"/usr/share/edge-agent/
cp README.md "$core"/usr/share/doc/edge-agent/
install -m 755 tools/packaging/deb/{postinst,prerm,postrm} "$core"/DEBIAN/

for extra in litert onnx; do
    install_packages "$work/with-$extra" "$wheel[$extra]"
done
# What both runtimes need cannot be in both of their packages.
comm -12 <(cd "$work/with-litert" && find . ! -type d | sort) <(cd "$work/with-onnx" && find . ! -type d | sort) |
    (cd "$work/with-litert" && cpio --quiet --pass-through --make-directories "$core" 2>/dev/null)
for extra in litert onnx; do
    comm -23 <(cd "$work/with-$extra" && find . ! -type d | sort) <(cd "$core" && find . ! -type d | sort) |
        (cd "$work/with-$extra" && cpio --quiet --pass-through --make-directories "$work/edge-agent-$extra")
done

package edge-agent "$core" "$python_needed, procps, systemd" \
    "active-inference agents and small neural policies on small boards"
package edge-agent-litert "$work/edge-agent-litert" "edge-agent (= $package_version)" "LiteRT runtime for edge-agent"
package edge-agent-onnx "$work/edge-agent-onnx" "edge-agent (= $package_version)" "ONNX Runtime for edge-agent"
