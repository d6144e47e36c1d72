"""The daemon as a process, at a real Mosquitto: what a user types and sees."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
import pytest

from edge_agent import Model
from edge_agent.engine import golden
from edge_agent.errors import BudgetError, ConfigError
from edge_agent.wire import bundle
from edge_agent.wire.messages import decode
from edge_agent.wire.topics import DeviceTopics

pytestmark = pytest.mark.broker

META = {
    "modalities": [{"name": "co2", "unit": "ppm", "edges": [800]}],
    "controls": [{"name": "fan", "values": ["off", "on"]}],
}
CONFIG = """
[device]
name = "dev"
fleet = "lab"
state_dir = "state"
socket = "s"
telemetry_s = 0.2
{device}
[broker]
host = "127.0.0.1"
port = {port}
[[population]]
name = "rooms"
bundle = "fan.eab"
size = {size}
agents = "room-{{index}}"
step = "arrival"
rate_hz = 50
[[population.observe]]
modality = "co2"
topic = "z/{{agent}}"
pointer = "/co2"
[[population.act]]
control = "fan"
topic = "z/{{agent}}/set"
template = '{{{{"fan": "{{value}}"}}}}'
safe = "off"
"""


def make_bundle(path: Path) -> str:
    """Write a model that switches the fan on when the air is bad: 2 states, 2 observations, 2 actions."""
    likelihood = np.array([[0.95, 0.05], [0.05, 0.95]])
    fan = np.array([[[0.7, 0.9], [0.3, 0.1]], [[0.1, 0.6], [0.9, 0.4]]])
    transition = np.stack([fan[0].T, fan[1].T], axis=0).transpose(1, 0, 2)
    transition = transition / transition.sum(axis=0, keepdims=True)
    model = Model.from_arrays([likelihood], [transition], [np.array([1.0, -1.0])], meta=META, name="fan")
    entries = model.entries() | {"golden.npz": golden.make(model)}
    manifest: dict[str, Any] = {"name": "fan", "version": "1", "kind": "pomdp", "created": 0}
    manifest |= {"source_sha256": "0" * 64, "io": META, "memory": {}, "evaluation": {}, "requires": {}}
    return bundle.write(path, manifest, entries)


def edge_agent(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_agent", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for another process; the deadline is for the case that it never happens."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Device:
    """A daemon in ``folder``, and an ear at the broker."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.heard: list[tuple[str, bytes]] = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _c, _u, m: self.heard.append((m.topic, m.payload))
        self.client.connect("127.0.0.1", port)
        self.client.subscribe([("z/+/set", 0), ("edge/v1/#", 0)])
        self.client.loop_start()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "edge_agent", "run", "--config", "device.toml"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stderr=log)
        until(lambda: self.status().get("broker", {}).get("state") == "online")

    def status(self) -> dict[str, Any]:
        done = edge_agent(self.folder, "status", "--socket", "s", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def said(self, topic: str) -> list[bytes]:
        return [payload for where, payload in self.heard if where == topic]

    def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=2.0)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        self.kill()
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def device(tmp_path: Path, mosquitto: Any) -> Iterator[Device]:
    make_bundle(tmp_path / "fan.eab")
    (tmp_path / "device.toml").write_text(CONFIG.format(port=mosquitto.port, size=3, device=""))
    made = Device(tmp_path, mosquitto.port)
    yield made
    made.close()


def test_a_reading_becomes_an_action_and_everything_can_be_asked(device: Device) -> None:
    device.start()
    device.client.publish("z/room-1", b'{"co2": 1500}')
    until(lambda: device.said("z/room-1/set")[-1:] == [b'{"fan": "on"}'])
    device.client.publish("z/room-1", b'{"co2": "much"}')
    until(lambda: device.status()["populations"]["rooms"]["faults"] == {"not_a_number": 1})
    rooms = device.status()["populations"]["rooms"]
    assert (rooms["agents"], rooms["steps"]) == (3, 1)
    assert 0 < rooms["latency_p50_ms"] <= rooms["latency_p99_ms"]
    records = json.loads(edge_agent(device.folder, "history", "room-1", "--socket", "s", "--json").stdout)
    assert records["observation"] == [["800.. ppm"]]
    assert records["action"] == [["on"]]
    listed = edge_agent(device.folder, "agents", "--socket", "s").stdout.splitlines()
    assert len(listed) == 4
    topics = DeviceTopics("lab", "dev")
    until(lambda: len(device.said(topics.telemetry)) > 0)
    assert decode(device.said(topics.birth)[0]).body["online"] is True
    assert device.end() == 0
    until(lambda: decode(device.said(topics.birth)[-1]).body["online"] is False)


def test_a_killed_daemon_leaves_its_will_and_resumes(device: Device) -> None:
    device.start()
    device.client.publish("z/room-1", b'{"co2": 1500}')
    until(lambda: device.said("z/room-1/set")[-1:] == [b'{"fan": "on"}'])
    assert device.end() == 0
    device.start()
    assert device.status()["populations"]["rooms"]["steps"] == 1
    device.kill()
    topics = DeviceTopics("lab", "dev")
    until(lambda: decode(device.said(topics.birth)[-1]).body["online"] is False)
    device.start()
    assert device.status()["populations"]["rooms"]["steps"] == 1


def test_check_prints_the_plan_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    make_bundle(tmp_path / "fan.eab")
    path = tmp_path / "device.toml"
    path.write_text(CONFIG.format(port=1883, size=3, device=""))
    plan = json.loads(edge_agent(tmp_path, "check", "--config", "device.toml", "--json").stdout)
    assert sum(line["nbytes"] for line in plan["lines"]) == plan["total"] <= plan["budget"]
    path.write_text(CONFIG.format(port=1883, size=1_000_000, device="memory_mb = 64"))
    refused = edge_agent(tmp_path, "check", "--config", "device.toml", "--json")
    assert refused.returncode == BudgetError.exit_code
    missing = json.loads(refused.stdout)["missing"]
    assert refused.stderr.count("\n") == 1
    assert f"{missing} bytes are missing" in refused.stderr
    assert edge_agent(tmp_path, "run", "--config", "device.toml").returncode == BudgetError.exit_code


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('modality = "co2"', 'modality = "heat"', "population[0].observe[0].modality: "),
        ('control = "fan"', 'control = "lamp"', "population[0].act[0].control: "),
        ("rate_hz = 50", "rate_hz = 900", "population[0].rate_hz: found 900, expected at most 100"),
        ("fan.eab", "none.eab", "none.eab: No such file"),
    ],
)
def test_what_only_the_bundle_knows_is_checked_too(old: str, new: str, expected: str, tmp_path: Path) -> None:
    make_bundle(tmp_path / "fan.eab")
    (tmp_path / "device.toml").write_text(CONFIG.format(port=1883, size=3, device="").replace(old, new))
    refused = edge_agent(tmp_path, "check", "--config", "device.toml")
    assert refused.returncode == ConfigError.exit_code
    assert refused.stderr.count("\n") == 1
    assert expected in refused.stderr


def test_the_daemon_process_is_without_the_libraries_of_others(tmp_path: Path) -> None:
    make_bundle(tmp_path / "fan.eab")
    (tmp_path / "device.toml").write_text(CONFIG.format(port=1883, size=3, device=""))
    script = (
        "import sys; from edge_agent.cli import main; main(['check', '--config', 'device.toml', '--json']);"
        "print([m for m in ('pydantic', 'asyncio', 'onnxruntime', 'matplotlib', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
