"""Memory of the whole daemon, and its growth under traffic and outages.

The daemon is ``edge-agent run`` as started from a shell; as a unit it needs 2 MB less, without docstrings.
RSS is the kernel's (/proc/PID/statm), a MB is 10^6 bytes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.cases import run
from benchmarks.daemon import BULK, NO_LIMITS, SINGLE, TOPICS, Generator
from benchmarks.device import Device
from benchmarks.figures import Figure, at_least, at_most
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire.messages import Message, encode

MB = 1e6
HISTORY_TICKS = 64
TICKS = 120
SLICE = 200  # messages on topics of their own to one bulk message: 2,000 a second
POPULATION = """
[[population]]
name = "grid"
bundle = "grid.eab"
size = {size}
step = "rate"
rate_hz = {rate}
bulk = true
history_kb = {history}
"""
SIZES = {1000: (44.0, 512), 10_000: (50.0, 2304)}


def payload(size: int, seed: int) -> bytes:
    """Return bulk observations of ``size`` agents that wander about the grid."""
    cells = np.random.default_rng(seed).integers(0, 100, (size, 1)).astype("<i2")
    return encode(Message({"obs": cells.tobytes(), "shape": [size, 1], "dtype": "int16"}))


def resident(size: int, seconds: float) -> Iterator[Figure]:
    """Measure the daemon once its histories hold 64 ticks, at 10 Hz, or faster if there are less seconds."""
    length = min(seconds, TICKS / 10.0)
    rate = TICKS / length
    target, history = SIZES[size]
    case = f"{size}-agents"
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), NO_LIMITS)
        broker.start()
        device = Device(Path(name), POPULATION.format(size=size, history=history, rate=rate), broker.port)
        device.wait_online()
        generator = Generator(broker.port, "none")
        payloads = [payload(size, seed) for seed in range(8)]
        generator.run(rate, length, lambda n: (TOPICS.bulk_in("grid"), payloads[n % 8]))
        held = device.status()["populations"]["grid"]["history_records"] / size
        rss = device.rss()
        generator.close()
        device.close()
        broker.stop()
    yield at_most(case, "RSS", rss / MB, "MB", target)
    yield at_least(case, "history", held, "ticks", HISTORY_TICKS)


def growth(seconds: float) -> Iterator[Figure]:
    """Measure RSS after the first tenth and at the end, at full traffic, with two outages between."""
    case = f"growth-{seconds:g}s"
    rng = np.random.default_rng(2)
    cells = [str(cell).encode() for cell in range(100)]
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), NO_LIMITS)
        broker.start()
        device = Device(Path(name), BULK + SINGLE.replace('"grid"', '"topics"'), broker.port)
        device.wait_online()
        payloads = [payload(10_000, seed) for seed in range(8)]
        sent = 0

        def message(number: int) -> tuple[str, bytes]:
            if number % SLICE == 0:
                return TOPICS.bulk_in("grid"), payloads[number // SLICE % 8]
            return f"z/a{number % 1000}", cells[rng.integers(100)]

        def traffic(length: float) -> int:
            generator = Generator(broker.port, "z/+/set")
            count = generator.run(10.0 * SLICE, length, message)
            generator.close()
            return count

        sent += traffic(seconds / 10)
        before = device.rss()
        for _ in range(2):
            sent += traffic(seconds * 0.25)
            broker.kill()
            time.sleep(seconds / 60)
            broker.start()
            device.wait_online()
        sent += traffic(seconds * 0.4)
        after = device.rss()
        status = device.status()
        device.close()
        broker.stop()
    populations = status["populations"]
    yield Figure(case, "RSS after the first tenth", round(before / MB, 2), "MB")
    yield at_most(case, "growth", (after - before) / MB, "MB", 0.5)
    yield at_least(case, "connections", status["broker"]["connects"], "times", 3)
    yield Figure(case, "messages sent", sent, "in all")
    yield Figure(case, "observations", sum(p["observations"] for p in populations.values()), "in all")
    yield Figure(case, "missed deadlines", sum(p["missed"] for p in populations.values()), "ticks")


CASES = {f"resident-{size}": partial(resident, size) for size in SIZES} | {"growth": growth}

if __name__ == "__main__":
    sys.exit(run("benchmarks.memory", __doc__, CASES, seconds=600.0))
