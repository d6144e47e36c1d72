import struct
from itertools import pairwise

import msgpack

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


def test_samples_travel_as_columns() -> None:
    telemetry = Telemetry()
    telemetry.sample("co2", 412.5, 1000.0)
    telemetry.sample("light", 3.0, 1000.25)
    telemetry.sample("co2", 413.0, 1001.0)
    body = telemetry.due({}, 0, 0.0)
    assert body is not None
    bodies.check(bodies.TELEMETRY, body, "t")
    columns = body["samples"]
    assert columns["names"] == ["co2", "light"]
    assert columns["t0"] == 1000.0
    assert struct.unpack("<3H", columns["series"]) == (0, 1, 0)
    assert struct.unpack("<3I", columns["dt"]) == (0, 250, 1000)
    assert struct.unpack("<3f", columns["values"]) == (412.5, 3.0, 413.0)
    telemetry.sample("light", 4.0, 2e6 + 5e6)
    telemetry.sample("light", 5.0, 2e6)
    body = telemetry.due({}, 0, 100.0)
    assert body is not None
    assert (body["samples"]["names"], body["samples"]["t0"]) == (["light"], 2e6)
    assert struct.unpack("<2I", body["samples"]["dt"]) == (2**32 - 1, 0)  # no more than 49 days


def test_the_budget_stretches_the_interval_and_thins_samples() -> None:
    telemetry = Telemetry(seconds=1.0, budget=1000.0)
    sent = offered = 0
    for tick in range(600):
        now = tick * 0.1
        for n in range(30 if tick < 500 else 1):  # 300 samples/s of 10 bytes: three times the budget
            telemetry.sample("s", float(n), now)
            offered += 1
        body = telemetry.due({"a": {"tick": tick}}, 1, now)
        if body is not None and "samples" in body:
            count = len(body["samples"]["values"]) // 4
            sent += count
            assert telemetry.deadline == now + max(1.0, len(msgpack.packb(body)) / 1000.0)
    assert 5 * 1000.0 < 10 * sent < 60 * 1300.0
    rest = telemetry.due({}, 1, 1e3)
    assert rest is not None
    assert sent + len(rest["samples"]["values"]) // 4 + telemetry.thinned == offered
    assert count == 10  # there is room for all of them again


def test_memory_is_bounded_when_nobody_asks() -> None:
    telemetry = Telemetry(samples=100)
    for n in range(10_000):
        telemetry.sample("s", float(n), float(n))
    body = telemetry.due({}, 0, 0.0)
    assert body is not None
    values = struct.unpack(f"<{10_000 - telemetry.thinned}f", body["samples"]["values"])
    assert 50 <= len(values) <= 100
    assert values[0] == 0.0
    assert max(b - a for a, b in pairwise(values)) <= 2 * 10_000 / 50  # of the whole time
