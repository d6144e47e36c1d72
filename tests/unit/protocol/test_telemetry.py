import math
import struct
from itertools import pairwise

import msgpack
import numpy as np

from edge_agent.memory.arena import Arena, total
from edge_agent.protocol.sample_buffer import SampleBuffer
from edge_agent.protocol.telemetry import Telemetry
from edge_agent.wire import bodies


def test_only_what_changed_is_sent_and_everything_on_connect() -> None:
    telemetry = Telemetry(seconds=5.0)
    assert telemetry.due({"rooms": {"tick": 1, "missed": 0}}, 100, 0.0) == {
        "populations": {"rooms": {"tick": 1, "missed": 0}},
        "rss": 100,
    }
    assert telemetry.due({"rooms": {"tick": 2, "missed": 0}}, 100, 4.9) is None
    assert telemetry.due({"rooms": {"tick": 2, "missed": 0}}, 100, 5.0) == {
        "populations": {"rooms": {"tick": 2}},
        "delta": True,
    }
    telemetry.online()
    assert telemetry.due({"rooms": {"tick": 2, "missed": 0}}, 100, 5.1) == {
        "populations": {"rooms": {"tick": 2, "missed": 0}},
        "rss": 100,
    }
    assert telemetry.deadline == 10.1
    assert telemetry.due({"rooms": {"tick": 2, "missed": 0}}, 100, 10.1) == {"populations": {}, "delta": True}
    body = telemetry.due({"rooms": {"tick": 3, "missed": 0}, "new": {"tick": 1}}, 120, 20.0)
    assert body == {"populations": {"rooms": {"tick": 3}, "new": {"tick": 1}}, "delta": True, "rss": 120}


def test_a_keyframe_comes_again() -> None:
    telemetry = Telemetry(seconds=1.0, keyframe=3)
    sent = [telemetry.due({"a": {"tick": n}}, 1, float(n)) for n in range(8)]
    assert ["delta" in (body or {}) for body in sent] == [False, True, True, True] * 2


def buffer(names: list[str], samples: int = 20_000) -> SampleBuffer:
    columns = SampleBuffer.columns(samples)
    return SampleBuffer(names, Arena(total(columns)).allocate("telemetry", columns))


def add(samples: SampleBuffer, series: list[int], values: list[float], t: float) -> None:
    samples.add(np.array(series), np.array(values, np.float32), t)


def test_health_is_sent_when_it_changes_and_with_everything() -> None:
    telemetry = Telemetry(seconds=1.0)
    health = {"rung": 0, "cause": "", "temperature_c": 50}
    first = telemetry.due({}, 1, 0.0, health)
    assert first is not None
    assert first["health"] == health
    bodies.check(bodies.TELEMETRY, first, "t")
    again = telemetry.due({}, 1, 1.0, health)
    assert again is not None
    assert "health" not in again
    changed = telemetry.due({}, 1, 2.0, health | {"temperature_c": 61})
    assert changed is not None
    assert changed["health"] == {"temperature_c": 61}
    telemetry.online()
    complete = telemetry.due({}, 1, 2.1, health)
    assert complete is not None
    assert complete["health"] == health


def test_samples_travel_as_columns() -> None:
    telemetry = Telemetry(samples=(samples := buffer(["unused", "co2", "light"])))
    add(samples, [1], [412.5], 1000.0)
    add(samples, [1, 2], [math.nan, 3.0], 1000.25)  # not a number: no sample
    add(samples, [1], [413.0], 1001.0)
    body = telemetry.due({}, 0, 0.0)
    assert body is not None
    bodies.check(bodies.TELEMETRY, body, "t")
    columns = body["samples"]
    assert columns["names"] == ["co2", "light"]
    assert columns["t0"] == 1000.0
    assert struct.unpack("<3H", columns["series"]) == (0, 1, 0)
    assert struct.unpack("<3I", columns["dt"]) == (0, 250, 1000)
    assert struct.unpack("<3f", columns["values"]) == (412.5, 3.0, 413.0)
    add(samples, [2], [4.0], 2e6 + 5e6)
    add(samples, [2], [5.0], 2e6)
    body = telemetry.due({}, 0, 100.0)
    assert body is not None
    assert (body["samples"]["names"], body["samples"]["t0"]) == (["light"], 2e6)
    assert struct.unpack("<2I", body["samples"]["dt"]) == (2**32 - 1, 0)  # no more than 49 days
    body = telemetry.due({}, 0, 200.0)
    assert body is not None
    assert "samples" not in body


def test_the_budget_stretches_the_interval_and_thins_samples() -> None:
    telemetry = Telemetry(seconds=1.0, budget=1000.0, samples=(samples := buffer(["s"])))
    sent = offered = 0
    for tick in range(600):
        now = tick * 0.1
        for n in range(30 if tick < 500 else 1):  # 300 samples/s of 10 bytes: three times the budget
            add(samples, [0], [float(n)], now)
            offered += 1
        body = telemetry.due({"a": {"tick": tick}}, 1, now)
        if body is not None and "samples" in body:
            count = len(body["samples"]["values"]) // 4
            sent += count
            assert telemetry.deadline == now + max(1.0, len(msgpack.packb(body)) / 1000.0)
    assert 5 * 1000.0 < 10 * sent < 60 * 1300.0
    rest = telemetry.due({}, 1, 1e3)
    assert rest is not None
    assert sent + len(rest["samples"]["values"]) // 4 + samples.thinned == offered
    assert count == 10  # there is room for all of them again


def test_memory_is_bounded_when_nobody_asks() -> None:
    telemetry = Telemetry(samples=(samples := buffer(["s"], samples=100)))
    for n in range(10_000):
        add(samples, [0], [float(n)], float(n))
    body = telemetry.due({}, 0, 0.0)
    assert body is not None
    values = struct.unpack(f"<{10_000 - samples.thinned}f", body["samples"]["values"])
    assert 50 <= len(values) <= 100
    assert values[0] == 0.0
    assert max(b - a for a, b in pairwise(values)) <= 2 * 10_000 / 50  # of the whole time


def test_thinning_takes_whole_rounds() -> None:
    samples = buffer(["a", "b", "c"], samples=31)  # ten rounds of three, and no room for an eleventh
    for n in range(25):
        add(samples, [0, 1], [n, n], float(n))
        add(samples, [2], [n], float(n))
    columns = samples.take()
    series = struct.unpack(f"<{len(columns['series']) // 2}H", columns["series"])
    values = struct.unpack(f"<{len(columns['values']) // 4}f", columns["values"])
    assert series == (0, 1, 2) * (len(series) // 3)
    assert [values[i : i + 3] for i in range(0, len(values), 3)] == [(v, v, v) for v in sorted(set(values))]
    assert 3 * 5 <= len(values) <= 31
