#!/usr/bin/env bash
# Install the brokers that are not Mosquitto: RabbitMQ and NATS by apt, aedes by npm into build/aedes; amqtt is among the
# libraries for development. Debian starts RabbitMQ and NATS where it can; the tests start their own on other ports.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools/ensure_system.sh mosquitto node npm rabbitmq-server nats-server
folder=$PWD/build/aedes
[ -e "$folder/.installed" ] && exit 0
mkdir -p "$folder"
npm install --prefix "$folder" --no-fund --no-audit --ignore-scripts --loglevel error \
    aedes@1.2.0 aedes-server-factory@0.2.1 >/dev/null
touch "$folder/.installed"
