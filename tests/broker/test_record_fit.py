"""From sensors to decisions by commands alone: record, fit, convert, run; on an office and on a pipeline."""

from __future__ import annotations

import csv
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paho.mqtt.client as paho
import pytest

from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import readings as readings_file
from tests.daemon_process import until

pytestmark = pytest.mark.broker
PROGRAMS = Path(sys.executable).parent
EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 120
SUBSCRIBED = "Sending SUBACK to record-"
DEVICE = """
[device]
name = "desk"
fleet = "home"
state_dir = "state"
socket = "s"
[broker]
host = "127.0.0.1"
port = {port}
[recorder]
path = "recording"
[[population]]
name = "things"
bundle = "model.eab"
agents = ["one"]
step = "arrival"
rate_hz = 10.0
tick = "arrival"
observe = [{observe}]
[[population.act]]
control = "{control}"
topic = "sensors/{{agent}}/set"
"""


class World(NamedTuple):
    """Readings of one kind: a table, its columns by modality, and a reading that needs an action."""

    table: Path
    time: str
    columns: dict[str, str]
    template: Path
    control: str
    trouble: dict[str, float]
    actions: tuple[str, ...]
    held_out: float
    """Nats per held-out tick that are reached at least."""


OFFICE = World(
    EXAMPLES / "office/data/office_occupancy.csv",
    "time",
    {"temperature": "V1", "humidity": "V2", "light": "V3", "co2": "V4"},
    EXAMPLES / "office/office.toml",
    "ventilation",
    {"co2": 1900.0, "light": 300.0},
    ("low", "high"),
    -5.627 - 0.05,
)
PIPELINE = World(
    EXAMPLES / "pipeline/data/water_flow.csv",
    "Time",
    {"flow": "Water flow [l/s]"},
    EXAMPLES / "pipeline/water.toml",
    "alarm",
    {"flow": 30.0},
    ("on",),
    -1.5,
)


def command(folder: Path, program: str, *words: str | Path) -> dict[str, Any]:
    """Run a command with ``--json``; return what it printed."""
    line = [PROGRAMS / program, *words, "--json"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def connected(port: int) -> paho.Client:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(20)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


def record(folder: Path, world: World, port: int) -> dict[str, Any]:
    """Publish a table as a sensor would, and record it; return what the command said."""
    with world.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    count = len(rows) * len(world.columns)
    words = ["record", "--config", "device.toml", "-o", "day.npz", "--csv", "--time", "/at", "--json"]
    line = [PROGRAMS / "edge-agent", *words, "--readings", str(count)]
    with subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        ending = threading.Timer(PATIENCE, process.kill)
        ending.start()
        until(lambda: SUBSCRIBED in (folder / "broker.log").read_text(), "the subscription", PATIENCE)
        sensor = connected(port)
        for row in rows:
            reading: dict[str, Any] = {name: float(row[column]) for name, column in world.columns.items()}
            payload = json.dumps(reading | {"at": row[world.time]})
            sensor.publish("sensors/one", payload, qos=1)
        output, _ = process.communicate()
        ending.cancel()
        sensor.loop_stop()
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(output)
    return result


@pytest.mark.parametrize("world", [OFFICE, PIPELINE], ids=["office", "pipeline"])
def test_from_readings_to_decisions(
    tmp_path: Path, make_mosquitto: Callable[..., Mosquitto], world: World
) -> None:
    log = f"log_dest file {tmp_path}/broker.log"
    mosquitto = make_mosquitto("allow_anonymous true", "max_queued_messages 0", log, "log_type all")
    observe = ", ".join(
        f'{{ modality = "{name}", topic = "sensors/{{agent}}", pointer = "/{name}" }}'
        for name in world.columns
    )
    config = DEVICE.format(port=mosquitto.port, observe=observe, control=world.control)
    (tmp_path / "device.toml").write_text(config)
    said = record(tmp_path, world, mosquitto.port)
    assert said["ignored"] == {}
    with world.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = readings_file.read(tmp_path / "day.npz")
    for number, modality in enumerate(found.modalities):
        wanted = [float(row[world.columns[modality.name]]) for row in rows]
        np.testing.assert_array_equal(found.value[found.modality == number], wanted)
    assert len((tmp_path / "day.csv").read_text().splitlines()) == len(rows) + 1

    report = command(
        tmp_path, "edge-convert", "fit", "day.npz", "--template", world.template, "-o", "model.npz"
    )
    figures = report["nats_per_tick"]
    assert figures["held_out"] > world.held_out
    assert figures["held_out"] > figures["histograms"] + 0.5
    command(tmp_path, "edge-convert", "convert", "model.npz", "-o", "model.eab", "--name", "model")

    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    ear = connected(mosquitto.port)
    ear.on_message = lambda *m: heard.put(m[2].payload.decode())
    ear.subscribe("sensors/one/set", 1)
    with subprocess.Popen(
        [PROGRAMS / "edge-agent", "run", "--config", "device.toml"], cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as daemon:
        try:
            while not online(tmp_path):
                assert daemon.poll() is None
            ear.publish("sensors/one", json.dumps(world.trouble), qos=1)
            assert heard.get(timeout=PATIENCE) in world.actions
        finally:
            daemon.terminate()
            ear.loop_stop()
    # What the flight recorder holds of it comes out as readings too.
    said = command(
        tmp_path, "edge-agent", "record", "--config", "device.toml", "--recorder", "-o", "seen.npz"
    )
    seen = readings_file.read(tmp_path / "seen.npz")
    assert seen.clock == "ticks"
    assert said["readings"] >= len(world.trouble)
    assert np.isnan(seen.value).all()
    acted = [c for c, entry in enumerate(seen.controls) if entry.name == world.control]
    taken = [seen.controls[acted[0]].values[a] for a in seen.action[seen.action_control == acted[0]]]
    assert set(taken) & set(world.actions)


def test_a_recording_of_nothing_keeps_the_file_that_was_there(tmp_path: Path, mosquitto: Mosquitto) -> None:
    observe = '{ modality = "flow", topic = "sensors/{agent}" }'
    config = DEVICE.format(port=mosquitto.port, observe=observe, control="alarm")
    (tmp_path / "device.toml").write_text(config)
    (tmp_path / "day.npz").write_text("yesterday")
    line = [PROGRAMS / "edge-agent", "record", "--config", "device.toml", "-o", "day.npz", "--for", "0.1"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "day.npz: nothing was recorded; the file is not written" in done.stderr
    assert (tmp_path / "day.npz").read_text() == "yesterday"


def test_a_broker_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    observe = '{ modality = "flow", topic = "sensors/{agent}" }'
    config = DEVICE.format(port=free_port(), observe=observe, control="alarm")
    (tmp_path / "device.toml").write_text(config)
    line = [PROGRAMS / "edge-agent", "record", "--config", "device.toml", "-o", "day.npz"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "day.npz").exists()


def online(folder: Path) -> bool:
    line = [PROGRAMS / "edge-agent", "status", "--socket", "s", "--json"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode == 0 and json.loads(done.stdout)["broker"]["state"] == "online"
