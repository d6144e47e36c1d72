"""Time from the command to the first decision, compared with importing the libraries.

Measured with 1,000 agents in one population; and the time until a daemon with 2,000 populations is online,
compared with 500. The clock starts before the process does and stops when an action has arrived at another
client, so it includes process start, the check of the configuration in its child, golden vectors, arena,
connection and kernel.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.cases import run
from benchmarks.device import Device
from benchmarks.figures import LESS, Figure
from edge_agent.testing.mosquitto import Mosquitto

POPULATION = """
[[population]]
name = "grid"
bundle = "grid.eab"
size = 1000
agents = "a{index}"
step = "arrival"
rate_hz = 100
tick = "arrival"
[[population.observe]]
modality = "0"
topic = "z/{agent}"
wakes = true
[[population.act]]
control = "0"
topic = "z/{agent}/set"
"""
ONE = """
[[population]]
name = "NAME"
bundle = "grid.eab"
size = 1
history_kb = 1
threads = 1
step = "arrival"
rate_hz = 1.0
tick = "arrival"
[[population.observe]]
modality = "0"
topic = "z/NAME"
wakes = true
[[population.act]]
control = "0"
topic = "z/NAME/set"
"""
TARGET_S = 1.0
MANY_TARGET_S = 10.0


def first_decision() -> float:
    """Return the seconds from starting a daemon to its first action."""
    decided = threading.Event()
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name))
        broker.start()
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.on_message = lambda _client, _data, _message: decided.set()
        client.connect("127.0.0.1", broker.port)
        client.subscribe("z/a7/set", 0)
        client.loop_start()
        client.publish("z/a7", b"42", 0, retain=True)
        device = Device(Path(name), POPULATION, broker.port)
        decided.wait(30.0)
        passed = time.monotonic() - device.started
        client.disconnect()
        client.loop_stop()
        device.close()
        broker.stop()
    return passed


def imports() -> float:
    """Return the seconds that a process takes to import what the daemon uses."""
    start = time.monotonic()
    libraries = "numpy, msgpack, paho.mqtt.client, nacl.signing"
    subprocess.run([sys.executable, "-c", f"import {libraries}"], check=True)
    return time.monotonic() - start


def start() -> Iterator[Figure]:
    """Measure one start, and the libraries right after it."""
    value, base = first_decision(), imports()
    yield Figure(
        "1000-agents",
        "start to first decision",
        round(value, 3),
        "s",
        "importing the libraries",
        round(value / base, 2),
        TARGET_S,
        value <= TARGET_S,
        LESS,
    )


def many_populations(count: int) -> float:
    """Return the seconds from starting a daemon with ``count`` populations until it is online."""
    names = (ONE.replace("NAME", f"p{number}") for number in range(count))
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name))
        broker.start()
        device = Device(Path(name), "".join(names), broker.port, "memory_mb = 640")
        device.wait_online()
        passed = time.monotonic() - device.started
        device.close()
        broker.stop()
    return passed


def populations() -> Iterator[Figure]:
    """Measure a start with four times the populations: a ratio of 4 is what grows with their number."""
    few, many = many_populations(500), many_populations(2000)
    yield Figure(
        "2000-populations",
        "start to online",
        round(many, 3),
        "s",
        "500 populations",
        round(many / few, 2),
        MANY_TARGET_S,
        many <= MANY_TARGET_S,
        LESS,
    )


CASES = {"start": start, "populations": populations}

if __name__ == "__main__":
    sys.exit(run("benchmarks.startup", __doc__, CASES, runs=7))
