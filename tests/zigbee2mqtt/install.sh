#!/usr/bin/env bash
# Install Zigbee2MQTT into build/zigbee2mqtt by npm, unless it is there already.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=2.14.1
folder=$PWD/build/zigbee2mqtt
[ -e "$folder/.installed-$version" ] && exit 0
tools/ensure_system.sh node npm
mkdir -p "$folder"
# Its scripts compile a driver of serial ports, which a test without a radio does not load.
npm install --prefix "$folder" --no-fund --no-audit --ignore-scripts --loglevel error "zigbee2mqtt@$version" >/dev/null
touch "$folder/.installed-$version"
