#!/usr/bin/env bash
# Build the hub's Debian package for a release: tools/packaging/deb/hub.sh bookworm|trixie [arm64|amd64 [DIR]]
#
#   edge-hub            the hub as a service, its libraries, its units, its user
#
# build.sh builds the device's packages in the same way (layout.sh). Both can be installed on one machine.
set -euo pipefail
cd "$(dirname "$0")/../../.."
program=edge-hub module=edge_hub.cli
source tools/packaging/deb/layout.sh

core=$work/edge-hub
install_packages "$core" "$wheel" "$(ls dist/edge_hub-"$version"-*.whl)[enrol,notify,oidc,otlp]"
interpreter "$core"
mkdir -p "$core"/usr/{lib/{systemd/system,sysusers.d},share/doc/edge-hub} "$core"/etc/edge-hub "$core"/DEBIAN
cp systemd/edge-hub.service systemd/edge-hub-ingest@.service "$core"/usr/lib/systemd/system/
cp systemd/edge-hub-sysusers.conf "$core"/usr/lib/sysusers.d/edge-hub.conf
cp deploy/hub/hub.toml "$core"/etc/edge-hub/hub.toml
echo /etc/edge-hub/hub.toml >"$core"/DEBIAN/conffiles
cp tools/edge_hub/README.md "$core"/usr/share/doc/edge-hub/
cp -r deploy/scale "$core"/usr/share/doc/edge-hub/
for script in postinst prerm postrm; do install -m 755 "tools/packaging/deb/hub-$script" "$core/DEBIAN/$script"; done

package edge-hub "$core" "$python_needed, systemd" "hub of a fleet of edge-agent devices"
