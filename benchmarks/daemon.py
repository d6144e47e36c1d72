"""Timing of the daemon with a broker: bulk ticks, one topic per agent, and the load on a core.

This process generates the load, so on a machine with two cores the daemon shares them with the generator and
the broker.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.cases import run
from benchmarks.device import Device
from benchmarks.figures import Figure, at_least, at_most
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire.messages import Message, encode
from edge_agent.wire.topics import DeviceTopics

TOPICS = DeviceTopics("bench", "dev")
NO_LIMITS = ("allow_anonymous true", "max_queued_messages 0", "max_inflight_messages 0")
BULK = """
[[population]]
name = "grid"
bundle = "grid.eab"
size = 10000
step = "rate"
rate_hz = 10
threads = 2
bulk = true
history_kb = 2048
"""
SINGLE = """
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


class Generator:
    """A client that publishes at a pace, and counts what comes back."""

    def __init__(self, port: int, topic: str) -> None:
        self.received = 0
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = self._count
        self.client.connect("127.0.0.1", port)
        self.client.subscribe(topic, 0)
        self.client.loop_start()

    def _count(self, _client: object, _data: object, _message: object) -> None:
        self.received += 1

    def run(self, rate: float, seconds: float, message: Callable[[int], tuple[str, bytes]]) -> int:
        """Publish ``rate`` messages per second in slices of 10 ms; return how many."""
        start, sent = time.monotonic(), 0
        while (passed := time.monotonic() - start) < seconds:
            while sent < passed * rate:
                self.client.publish(*message(sent), 0)
                sent += 1
            time.sleep(0.01)
        return sent

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


def bulk(seconds: float) -> Iterator[Figure]:
    """Ten thousand agents ten times per second, observations and actions in bulk messages."""
    case = "bulk-10000-at-10Hz"
    rng = np.random.default_rng(1)
    payloads = [
        encode(
            Message(
                {
                    "obs": rng.integers(0, 100, (10_000, 1)).astype("<i2").tobytes(),
                    "shape": [10_000, 1],
                    "dtype": "int16",
                }
            )
        )
        for _ in range(8)
    ]
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), NO_LIMITS)
        broker.start()
        device = Device(Path(name), BULK, broker.port)
        device.wait_online()
        generator = Generator(broker.port, TOPICS.bulk_out("grid"))
        before, cpu, start = device.status(), device.cpu_s(), time.monotonic()
        generator.run(10.0, seconds, lambda n: (TOPICS.bulk_in("grid"), payloads[n % 8]))
        passed, used = time.monotonic() - start, device.cpu_s() - cpu
        status = device.status()
        grid, earlier = status["populations"]["grid"], before["populations"]["grid"]
        rss = device.rss()
        generator.close()
        device.close()
        broker.stop()
    yield at_most(case, "tick jitter p99", grid["jitter_p99_ms"], "ms", 5.0)
    yield at_most(case, "missed deadlines", grid["missed"], "ticks", 0)
    yield at_most(case, "processor", 100 * used / passed, "% of a core", 25.0)
    observed = (grid["observations"] - earlier["observations"]) / passed
    yield at_least(case, "observations", observed, "1/s", 0.95 * 100_000)
    yield Figure(case, "actions", generator.received * 10_000 / passed, "1/s")
    yield Figure(case, "step", status["step_us"], "µs per agent")
    yield at_most(case, "RSS", rss / 1e6, "MB", 50.0)


def flood(seconds: float) -> Iterator[Figure]:
    """Bulk observations as fast as one publisher can send them."""
    case = "bulk-input"
    body = {"obs": np.zeros((10_000, 1), "<i2").tobytes(), "shape": [10_000, 1], "dtype": "int16"}
    payload = encode(Message(body))
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), NO_LIMITS)
        broker.start()
        device = Device(Path(name), BULK, broker.port)
        device.wait_online()
        generator = Generator(broker.port, "none")
        before, start = device.status(), time.monotonic()
        generator.run(200.0, seconds, lambda _: (TOPICS.bulk_in("grid"), payload))
        passed = time.monotonic() - start
        grid = device.status()["populations"]["grid"]
        generator.close()
        device.close()
        broker.stop()
    taken = (grid["observations"] - before["populations"]["grid"]["observations"]) / passed
    yield at_least(case, "observations", taken, "1/s", 100_000)
    yield at_most(case, "missed deadlines", grid["missed"], "ticks", 0)


def single(seconds: float) -> Iterator[Figure]:
    """Publish to a thousand agents with a topic each, stepped on arrival, actions on change."""
    case = "1000-topics"
    rng = np.random.default_rng(2)
    cells = rng.integers(0, 100, 100_000)
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), NO_LIMITS)
        broker.start()
        device = Device(Path(name), SINGLE, broker.port)
        device.wait_online()
        generator = Generator(broker.port, "z/+/set")
        cpu, start = device.cpu_s(), time.monotonic()
        sent = generator.run(
            2100.0, seconds, lambda n: (f"z/a{n % 1000}", str(cells[n % len(cells)]).encode())
        )
        passed, used = time.monotonic() - start, device.cpu_s() - cpu
        time.sleep(0.5)
        status = device.status()
        grid = status["populations"]["grid"]
        rss = device.rss()
        generator.close()
        device.close()
        broker.stop()
    yield at_least(case, "messages in", (grid["observations"]) / passed, "1/s", 2000)
    yield at_most(case, "messages lost", sent - grid["observations"], "of all", 0)
    yield at_most(case, "missed deadlines", grid["missed"], "ticks", 0)
    yield Figure(case, "actions out", grid["actions"] / passed, "1/s")
    yield Figure(case, "latency p50", grid["latency_p50_ms"], "ms")
    yield Figure(case, "latency p99", grid["latency_p99_ms"], "ms")
    yield Figure(case, "processor", round(100 * used / passed, 1), "% of a core")
    yield at_most(case, "RSS", rss / 1e6, "MB", 44.0)


CASES = {"bulk": bulk, "flood": flood, "single": single}


if __name__ == "__main__":
    sys.exit(run("benchmarks.daemon", __doc__, CASES, seconds=20.0))
