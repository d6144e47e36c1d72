"""``edge-agent init`` with a real broker."""

from __future__ import annotations

import tomllib
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from edge_agent.cli import main
from edge_agent.testing.mosquitto import Mosquitto
from tests.zigbee2mqtt.model import write_bundle


@pytest.mark.broker
def test_all_retained_messages_of_a_broker_are_read(tmp_path: Path) -> None:
    write_bundle(tmp_path / "office.eab", "ventilation", ["off", "low", "high"], 600.0)
    (tmp_path / "broker").mkdir()
    broker = Mosquitto(tmp_path / "broker")
    broker.start()
    try:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        for number in range(200):
            topic = f"homeassistant/sensor/room_{number}_co2/state"
            client.publish(topic, "500", qos=1, retain=True).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()
        target = ["--config", str(tmp_path / "device.toml"), "--bundle", str(tmp_path / "office.eab")]
        where = ["--port", str(broker.port), "--host", "127.0.0.1"]
        assert main(["init", "--homeassistant-statestream", *where, *target]) == 0
    finally:
        broker.stop()
    (rooms,) = tomllib.loads((tmp_path / "device.toml").read_text())["population"]
    assert len(rooms["agents"]) == 200
