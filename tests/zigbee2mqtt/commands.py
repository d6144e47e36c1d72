"""Commands of the daemon, received by a real Zigbee2MQTT and its devices (``make test-zigbee2mqtt``)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from edge_agent.adapters import control
from edge_agent.testing.mosquitto import Mosquitto
from tests.daemon_process import DaemonProcess, until
from tests.zigbee2mqtt.bridge import CO2, Bridge, Zigbee
from tests.zigbee2mqtt.model import write_bundle

DEVICES = (
    Zigbee("meeting", "TS0601", "_TZE200_8ygsuhe1", [0, 4, 5, 0xEF00]),
    Zigbee("lab", "TS0601", "_TZE200_8ygsuhe1", [0, 4, 5, 0xEF00]),
    Zigbee("meeting-fan", "HDC52EastwindFan", "King Of Fans, Inc.", [0, 3, 4, 5, 6, 8, 514]),
    Zigbee("lab-fan", "HDC52EastwindFan", "King Of Fans, Inc.", [0, 3, 4, 5, 6, 8, 514]),
    Zigbee("lab-relay", "BASICZBR3", "SONOFF", [0, 3, 4, 5, 6]),
)
LEVELS = {"off": 0, "low": 1, "medium": 2, "high": 3}
"""The attribute Fan Mode of cluster 0x0202 (Zigbee Cluster Library 6.4.2.2.1)."""


def provisioned(folder: Path) -> str:
    """Return the first configuration of a board, with its example in force, but without the hub's keys."""
    config = folder / "provisioned.toml"
    command = [sys.executable, "-m", "edge_agent", "provision", "--config", str(config)]
    subprocess.run([*command, "--drop-ins", str(folder / "drop-ins")], check=True, stdout=subprocess.DEVNULL)
    text = re.sub(r"^# ?(?=[\[\w]+.*[\]=])", "", config.read_text(), flags=re.MULTILINE)
    return re.sub(r"^\[hub\]\n(\w+ = .*\n)+", "", text, flags=re.MULTILINE)


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
    write_bundle(tmp_path / entry["bundle"], "ventilation", ["off", "low", "high"], tick_s=1.0)
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


def test_a_model_with_levels_of_a_fan_switches_a_relay(
    tmp_path: Path, broker: Mosquitto, bridge: Bridge
) -> None:
    text = provisioned(tmp_path).replace("-fan/set", "-relay/set").replace("fan_mode", "state")
    text = re.sub(
        r"^values = .*$", 'values = { off = "OFF", low = "ON", high = "ON" }', text, flags=re.MULTILINE
    )
    text = text.replace('safe = "low"', 'safe = "off"')
    (tmp_path / "bundles").mkdir()
    write_bundle(tmp_path / "bundles/office.eab", "ventilation", ["off", "low", "high"], tick_s=1.0)
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


FAN_ANSWERS = """
[[population.observe]]
modality = "ventilation"
topic = "zigbee2mqtt/{agent}-fan"
pointer = "/fan_mode"
"""
DAY = ((30, 450), (15, 900), (20, 1900), (10, 900), (21, 450))
"""Ticks of a quarter of an hour, and ppm."""


def test_a_fan_runs_for_a_day_without_a_loop(
    tmp_path: Path, broker: Mosquitto, bridge: Bridge, client: paho.Client
) -> None:
    """A day of 96 ticks in 24 seconds: a fan's answers to its commands are observed and cause none."""
    text = initialized(tmp_path, broker, 0.25)
    text = text.replace('modality = "co2"\n', 'modality = "co2"\nsilence = "unchanged"\n') + FAN_ANSWERS
    published: Counter[str] = Counter()
    client.on_message = lambda _client, _data, message: published.update([message.topic])
    client.subscribe([(f"zigbee2mqtt/{name}", 0) for name in ("meeting", "meeting-fan")])
    daemon = run(tmp_path, broker, text)

    def ask(question: str, **more: Any) -> dict[str, Any]:
        return control.ask(tmp_path / "s", {"ask": question} | more)

    def rooms() -> dict[str, Any]:
        return dict(ask("status")["populations"]["rooms"])

    try:
        before = len(modes(bridge, "meeting-fan"))
        for number, (ticks, ppm) in enumerate(DAY):
            for _ in range(ticks):
                now = rooms()["ticks"]
                for _ in range(3):
                    bridge.report("meeting", CO2, ppm)
                until(lambda now=now: rooms()["ticks"] > now, "a tick ends")
            level = LEVELS[{450: "off", 900: "low", 1900: "high"}[ppm]]
            until(lambda level=level: modes(bridge, "meeting-fan")[-1:] == [level], f"{ppm} ppm: its level")
            switched = len(modes(bridge, "meeting-fan")) - before
            assert switched <= 2 * (number + 1), "at most the first decision and one more"
        status = rooms()
        assert published["zigbee2mqtt/meeting-fan"] >= len(DAY) - 1  # it answers its commands
        known = [row[1] for row in ask("history", agent="meeting")["observation"]]
        assert {"off", "low", "high"} <= set(known)  # the answers were taken in
        decisions = status["steps"] - 2 * (status["ticks"] - status["passed"])
        assert 0 < decisions <= published["zigbee2mqtt/meeting"]  # none was caused by an answer
    finally:
        daemon.stop()


def initialized(folder: Path, broker: Mosquitto, tick_s: float) -> str:
    """Return the configuration that ``init`` writes for two rooms and a model with this tick."""
    write_bundle(folder / "office.eab", "ventilation", ["off", "low", "high"], tick_s=tick_s, answers=True)
    command = [sys.executable, "-m", "edge_agent", "init", "--zigbee2mqtt", "--name", "pi"]
    command += ["--host", "127.0.0.1", "--bundle", "office.eab"]
    made = subprocess.run(
        [*command, "--agent", "lab", "--agent", "meeting", "--port", str(broker.port)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (made.returncode, made.stderr) == (0, "")
    text = (folder / "device.toml").read_text()
    (population,) = tomllib.loads(text)["population"]
    assert population["agents"] == ["meeting", "lab"]
    assert population["act"][0]["topic"] == "zigbee2mqtt/{agent}-fan/set"
    return text.replace(f"port = {broker.port}\n", "")


def test_init_writes_a_configuration_with_which_a_fan_runs_and_availability_is_honoured(
    tmp_path: Path, broker: Mosquitto, bridge: Bridge, client: paho.Client
) -> None:
    text = initialized(tmp_path, broker, 1.0)
    text = text.replace('control = "ventilation"\n', 'control = "ventilation"\nsafe = "off"\n')
    before = len(modes(bridge, "meeting-fan"))
    daemon = run(tmp_path, broker, text)
    try:

        def moved() -> bool:
            bridge.report("meeting", CO2, 1900)
            return modes(bridge, "meeting-fan")[before:][-1:] == [LEVELS["high"]]

        until(moved, "1900 ppm: the fan runs\n" + "\n".join(bridge.log[-20:]))
        for _ in range(20):  # the same reading again and again, and the fan's own answers
            bridge.report("meeting", CO2, 1900)
        count = len(modes(bridge, "meeting-fan"))
        assert count - before <= 2

        def safe() -> bool:
            client.publish("zigbee2mqtt/meeting/availability", '{"state": "offline"}')
            return modes(bridge, "meeting-fan")[count:] == [LEVELS["off"]]

        until(safe, "a sensor that is offline is not believed: the safe value, once, and nothing before")
        assert daemon.status()["populations"]["rooms"]["went_offline"] == 1  # told often, once anew
    finally:
        daemon.stop()


def test_a_relay_refuses_the_levels_of_a_fan(bridge: Bridge, client: paho.Client) -> None:
    """This is why the example says fan_mode."""

    def refused() -> bool:
        client.publish("zigbee2mqtt/lab-relay/set", json.dumps({"state": "high"}))
        return any("'high' not allowed" in line for line in bridge.errors())

    until(refused, "Zigbee2MQTT refuses it")
