"""Commands of the daemon, received by a real Zigbee2MQTT and its devices (``make test-zigbee2mqtt``)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
import pytest

from edge_agent.engine import Model, golden
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import bundle
from tests.daemon_process import DaemonProcess, until
from tests.zigbee2mqtt.bridge import CO2, Bridge, Zigbee

DEVICES = (
    Zigbee("meeting", "TS0601", "_TZE200_8ygsuhe1", [0, 4, 5, 0xEF00]),
    Zigbee("lab", "TS0601", "_TZE200_8ygsuhe1", [0, 4, 5, 0xEF00]),
    Zigbee("meeting-fan", "HDC52EastwindFan", "King Of Fans, Inc.", [0, 3, 4, 5, 6, 8, 514]),
    Zigbee("lab-fan", "HDC52EastwindFan", "King Of Fans, Inc.", [0, 3, 4, 5, 6, 8, 514]),
    Zigbee("lab-relay", "BASICZBR3", "SONOFF", [0, 3, 4, 5, 6]),
)
LEVELS = {"off": 0, "low": 1, "medium": 2, "high": 3}
"""The attribute Fan Mode of cluster 0x0202 (Zigbee Cluster Library 6.4.2.2.1)."""


def write_bundle(path: Path, control: str, values: list[str]) -> None:
    """Write a model that acts with CO2's bin; an action leads from its state to the wanted one, the first."""
    count = len(values)
    meta = {
        "modalities": [{"name": "co2", "unit": "ppm", "edges": [600 + 600 * n for n in range(count - 1)]}],
        "controls": [{"name": control, "values": values}],
    }
    likelihood = np.full((count, count), 0.01 / (count - 1))
    np.fill_diagonal(likelihood, 0.99)
    transition = np.full((count, count, count), 0.1 / (count - 1))  # to, from, action
    for now in range(count):
        for action in range(count):
            transition[0 if action == now else action or 1, now, action] = 0.9
    transition /= transition.sum(axis=0)
    wanted = np.zeros(count)
    wanted[0] = 6.0
    model = Model.from_arrays([likelihood], [transition], [wanted], meta=meta, name="office")
    manifest: dict[str, Any] = {"name": "office", "version": "1", "kind": "pomdp", "created": 0}
    manifest |= {"source_sha256": "0" * 64, "io": meta, "memory": {}, "evaluation": {}, "requires": {}}
    bundle.write(path, manifest, model.entries() | {"golden.npz": golden.make(model)})


def provisioned(folder: Path) -> str:
    """Return the first configuration of a board, with its example in force."""
    config = folder / "provisioned.toml"
    command = [sys.executable, "-m", "edge_agent", "provision", "--config", str(config)]
    subprocess.run([*command, "--drop-ins", str(folder / "drop-ins")], check=True, stdout=subprocess.DEVNULL)
    return re.sub(r"^# ?(?=[\[\w]+.*[\]=])", "", config.read_text(), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path_factory.mktemp("broker"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory, broker: Mosquitto) -> Iterator[Bridge]:
    made = Bridge(tmp_path_factory.mktemp("bridge"), broker.port, DEVICES)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def client(broker: Mosquitto) -> Iterator[paho.Client]:
    made = paho.Client(paho.CallbackAPIVersion.VERSION2)
    made.connect("127.0.0.1", broker.port)
    made.loop_start()
    yield made
    made.disconnect()
    made.loop_stop()


def run(folder: Path, broker: Mosquitto, text: str) -> DaemonProcess:
    """Start a daemon with ``text``, at this broker and in this folder."""
    table = f'host = "127.0.0.1"\nport = {broker.port}'
    text = re.sub(r"^host = .*$", table, text, flags=re.MULTILINE)
    text = re.sub(r"^(username|password_file) = .*\n", "", text, flags=re.MULTILINE)
    text = text.replace("[device]\n", '[device]\nsocket = "s"\nstate_dir = "state"\n')
    daemon = DaemonProcess(folder, text)
    daemon.start()
    return daemon


def modes(bridge: Bridge, name: str) -> list[int]:
    """Return the fan modes that were written to a fan."""
    written = bridge.received(name, "hvacFanCtrl")
    return [entry["attrData"] for command, payload in written if command == "write" for entry in payload]


def test_the_provisioned_example_moves_a_fan(tmp_path: Path, broker: Mosquitto, bridge: Bridge) -> None:
    text = provisioned(tmp_path)
    (entry,) = tomllib.loads(text)["population"]
    (tmp_path / entry["bundle"]).parent.mkdir()
    write_bundle(tmp_path / entry["bundle"], "ventilation", ["off", "low", "high"])
    daemon = run(tmp_path, broker, text)
    try:
        for ppm, mode in ((1900, "high"), (900, "low"), (450, "off")):

            def moved(ppm: int = ppm, mode: str = mode) -> bool:
                bridge.report("lab", CO2, ppm)
                return modes(bridge, "lab-fan")[-1:] == [LEVELS[mode]]

            until(moved, f"{ppm} ppm: the fan gets {mode}\n" + "\n".join(bridge.log[-20:]))
    finally:
        daemon.stop()
    assert bridge.errors() == []


def test_a_model_whose_actions_are_called_on_and_off_switches_a_relay(
    tmp_path: Path, broker: Mosquitto, bridge: Bridge
) -> None:
    text = provisioned(tmp_path).replace("-fan/set", "-relay/set").replace("fan_mode", "state")
    text = text.replace('safe = "low"', 'safe = "OFF"')
    (tmp_path / "bundles").mkdir()
    write_bundle(tmp_path / "bundles/office.eab", "ventilation", ["OFF", "ON"])
    daemon = run(tmp_path, broker, text)
    try:
        for ppm, command in ((1900, "on"), (450, "off")):

            def switched(ppm: int = ppm, command: str = command) -> bool:
                bridge.report("lab", CO2, ppm)
                return [name for name, _ in bridge.received("lab-relay", "genOnOff")][-1:] == [command]

            until(switched, f"{ppm} ppm: the relay gets {command}\n" + "\n".join(bridge.log[-20:]))
    finally:
        daemon.stop()
    assert not [line for line in bridge.errors() if "lab-relay" in line]


def test_a_relay_refuses_the_levels_of_a_fan(bridge: Bridge, client: paho.Client) -> None:
    """This is why the example says fan_mode."""

    def refused() -> bool:
        client.publish("zigbee2mqtt/lab-relay/set", json.dumps({"state": "high"}))
        return any("'high' not allowed" in line for line in bridge.errors())

    until(refused, "Zigbee2MQTT refuses it")
