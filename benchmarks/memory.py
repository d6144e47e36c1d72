"""Memory of the whole daemon: how much, and whether it grows under traffic and outages.

The daemon runs as its service unit runs it, without docstrings. MB here is 1000 KiB as the kernel counts RSS.
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
from benchmarks.daemon import NO_LIMITS, TOPICS, Generator
from benchmarks.device import Device
from benchmarks.figures import Figure, at_least, at_most
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire.messages import Message, encode

KIB_A_MB = 1000 * 1024
HISTORY_TICKS = 64
POPULATION = """
[[population]]
name = "grid"
bundle = "grid.eab"
size = {size}
step = "rate"
rate_hz = 10
bulk = true
history_kb = {history}
"""
SIZES = {1000: (44.0, 512), 10_000: (50.0, 2304)}


def payload(size: int, seed: int) -> bytes:
    """Return bulk observations of ``size`` agents that wander about the grid."""
    cells = np.random.default_rng(seed).integers(0, 100, (size, 1)).astype("<i2")
    return encode(Message({"obs": cells.tobytes(), "shape": [size, 1], "dtype": "int16"}))


def resident(size: int, _seconds: float) -> Iterator[Figure]:
    """Measure the daemon once its histories hold 64 ticks, which takes as long as it takes."""
    target, history = SIZES[size]
    case = f"{size}-agents"
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), NO_LIMITS)
        broker.start()
        device = Device(Path(name), POPULATION.format(size=size, history=history), broker.port)
        device.wait_online()
        generator = Generator(broker.port, "none")
        payloads = [payload(size, seed) for seed in range(8)]
        generator.run(10.0, 12.0, lambda n: (TOPICS.bulk_in("grid"), payloads[n % 8]))
        held = device.status()["populations"]["grid"]["history_records"] / size
        rss = device.rss()
        generator.close()
        device.close()
        broker.stop()
    yield at_most(case, "RSS", rss / KIB_A_MB, "MB", target)
    yield at_least(case, "history", held, "ticks", HISTORY_TICKS)


def growth(seconds: float) -> Iterator[Figure]:
    """Measure RSS after the first tenth and at the end, at full traffic, with two outages between."""
    case, size = f"growth-{seconds:g}s", 1000
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), NO_LIMITS)
        broker.start()
        device = Device(Path(name), POPULATION.format(size=size, history=512), broker.port)
        device.wait_online()
        generator = Generator(broker.port, "none")
        payloads = [payload(size, seed) for seed in range(8)]

        def traffic(length: float) -> None:
            generator.run(100.0, length, lambda n: (TOPICS.bulk_in("grid"), payloads[n % 8]))

        traffic(seconds / 10)
        before = device.rss()
        for _ in range(2):
            traffic(seconds * 0.25)
            broker.kill()
            time.sleep(seconds / 60)
            broker.start()
            device.wait_online()
        traffic(seconds * 0.4)
        after = device.rss()
        status = device.status()
        generator.close()
        device.close()
        broker.stop()
    yield Figure(case, "RSS after the first tenth", round(before / KIB_A_MB, 2), "MB")
    yield at_most(case, "growth", (after - before) / KIB_A_MB, "MB", 0.5)
    yield at_least(case, "connections", status["broker"]["connects"], "times", 3)


CASES = {f"resident-{size}": partial(resident, size) for size in SIZES} | {"growth": growth}

if __name__ == "__main__":
    sys.exit(run("benchmarks.memory", __doc__, CASES, seconds=600.0))
