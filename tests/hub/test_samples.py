"""Series of agents and health on the hub: from the message to REST, roll-ups and exports, by formula."""

from __future__ import annotations

import math
import random
import statistics
import struct
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import PeerError
from edge_agent.wire import messages, readings
from edge_agent.wire.messages import Message
from edge_hub.cli import main
from edge_hub.database import devices, history, measurements, rollups, sql, telemetry
from edge_hub.database.engine import Database
from edge_hub.database.telemetry import Numbers
from edge_hub.ingest import decode

BEGIN = 1_790_000_000.0 // 3600 * 3600
Sent = tuple[float, str, float]
"""Time, series, value."""


def columns(sent: list[Sent]) -> dict[str, Any]:
    """The body's field, as docs/protocol.md has it."""
    names = sorted({name for _, name, _ in sent})
    first = min(t for t, _, _ in sent)
    count = len(sent)
    return {
        "names": names,
        "t0": first,
        "series": struct.pack(f"<{count}H", *(names.index(name) for _, name, _ in sent)),
        "dt": struct.pack(f"<{count}I", *(round((t - first) * 1e3) for t, _, _ in sent)),
        "values": struct.pack(f"<{count}f", *(value for _, _, value in sent)),
    }


def message(t: float, seq: int, **body: Any) -> telemetry.Telemetry:
    whole = {"outbox": "x", "delta": True, "populations": {}} | body
    return decode.telemetry("lab", "dev", messages.encode(Message(whole, seq=seq, t=t)), t)


def fill(database: Database, hours: float = 2.0) -> list[Sent]:
    """A message per 20 s with counters and samples of two agents, those of one every 10 s."""
    draw, sent, batch = random.Random(5), [], []
    for n in range(int(hours * 180)):
        t = BEGIN + 20.0 * n
        rows = [
            (t - 12.0, "rooms/attic/reading/co2", float(draw.randrange(400, 1500))),
            (t - 2.0, "rooms/attic/reading/co2", float(draw.randrange(400, 1500))),
            (t - 2.0, "rooms/attic/belief/air=bad", draw.randrange(256) / 256),
            (t - 2.0, "rooms/cellar/action/fan", float(draw.randrange(3))),
        ]
        sent += rows
        batch.append(message(t, n + 1, populations={"rooms": {"tick": n}}, samples=columns(rows)))
    assert telemetry.store(database, Numbers(), batch, str) == []
    return sent


def number(database: Database) -> int:
    with database.read() as connection:
        return int(sql.one(connection, "SELECT id FROM devices"))


def test_the_series_of_an_agent_are_its_samples_at_their_times(database: Database) -> None:
    sent = fill(database, 0.1)
    found = history.series(database, number(database), 0.0, 1e12, 5000, agent=("rooms", "attic"))
    assert found["resolution"] == "raw"
    got = {
        (t, name, value)
        for name, column in found["values"].items()
        for t, value in zip(found["t"], column, strict=True)
        if value is not None
    }
    assert got == {
        (t, name.removeprefix("rooms/attic/"), value) for t, name, value in sent if "/attic/" in name
    }
    own = history.series(database, number(database), 0.0, 1e12, 5000)
    assert list(own["values"]) == ["rooms/tick"]
    assert own["agents"] == [{"population": "rooms", "agent": name} for name in ("attic", "cellar")]
    assert len(own["t"]) == 18  # the messages' times alone


@pytest.mark.parametrize(("resolution", "seconds"), [("minute", 60), ("hour", 3600)])
def test_roll_ups_of_samples_are_the_formula(
    database: Database, resolution: history.Resolution, seconds: int
) -> None:
    sent = fill(database)
    assert rollups.advance(database, BEGIN + 3 * 3600.0)
    parts: dict[float, list[float]] = {}
    for place, (_, name, value) in enumerate(sent):
        if name == "rooms/attic/reading/co2":
            t = BEGIN + 20.0 * (place // 4)  # of the message: a sample counts in its minute
            parts.setdefault(t // seconds * seconds, []).append(value)
    for statistic, figure in (("min", min), ("max", max), ("mean", statistics.fmean)):
        found = history.series(
            database,
            number(database),
            0.0,
            1e12,
            5000,
            statistic=statistic,  # type: ignore[arg-type]
            resolution=resolution,
            agent=("rooms", "attic"),
        )
        assert found["t"] == sorted(parts)
        assert found["values"]["reading/co2"] == pytest.approx([figure(parts[t]) for t in sorted(parts)])


def test_samples_are_exported_as_readings_of_agents(data: str, database: Database, tmp_path: Path) -> None:
    sent = fill(database, 0.1)
    path = tmp_path / "day.npz"
    assert main(["export", "--data", data, "-o", str(path)]) == 0
    found = readings.read(path)
    got = {
        (found.agents[a], found.modalities[m].name, t, v)
        for a, m, t, v in zip(found.agent, found.modality, found.time, found.value, strict=True)
    }
    wanted = set()
    for t, series, value in sent:
        agent, _, name = series.removeprefix("rooms/").partition("/")
        wanted.add((f"lab/dev/rooms/{agent}", name.removeprefix("reading/"), t, value))
    wanted |= {("lab/dev", "rooms/tick", BEGIN + 20.0 * n, float(n)) for n in range(18)}
    assert got == wanted


def test_a_series_that_was_not_measured_is_not_carried_on(database: Database) -> None:
    rows = [(BEGIN, "p/a/reading/x", 1.0), (BEGIN + 60.0, "p/a/reading/y", 2.0)]
    batch = [message(t + 1.0, n + 1, samples=columns([(t, *rest)])) for n, (t, *rest) in enumerate(rows)]
    assert telemetry.store(database, Numbers(), batch, str) == []
    found = history.series(database, number(database), 0.0, 1e12, 100, agent=("p", "a"))
    assert found["values"] == {"reading/x": [1.0, None], "reading/y": [None, 2.0]}


def test_health_is_kept_as_series_and_as_it_is_now(database: Database) -> None:
    batch = [
        message(BEGIN, 1, health={"rung": 0, "cause": "", "temperature_c": 50.0}),
        message(BEGIN + 60.0, 2, health={"rung": 2, "cause": "temperature", "temperature_c": 81.0}),
        message(BEGIN + 120.0, 3, health={"temperature_c": math.pi}),
    ]
    numbers = Numbers()
    assert telemetry.store(database, numbers, batch, str) == []
    found = history.series(database, number(database), 0.0, 1e12, 100)
    assert found["values"]["health/temperature_c"] == [50.0, 81.0, math.pi]
    assert found["values"]["health/rung"] == [0, 2, 2]
    heard = {("lab", "dev"): (BEGIN, BEGIN, 0)}
    row = {telemetry.HEALTH_ROW: '{"rung": 2, "cause": "temperature"}'}
    telemetry.note_latest(database, numbers, heard, {("lab", "dev"): row})
    telemetry.note_latest(
        database, numbers, heard, {("lab", "dev"): {telemetry.HEALTH_ROW: '{"temperature_c": 60}'}}
    )
    shown = devices.one(database, "lab", "dev")
    assert shown is not None
    assert shown["health"] == {"rung": 2, "cause": "temperature", "temperature_c": 60}
    assert (shown["populations"], shown["tick"]) == ([], 0)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"samples": {"names": ["a"], "series": b"\0\0", "dt": b"", "values": b""}}, "samples: 2, 0 and 0"),
        (
            {"samples": {"names": ["a"], "series": b"\1\0", "dt": bytes(4), "values": bytes(4)}},
            "samples: a series is not one of 1 names",
        ),
        ({"samples": {"names": "a"}}, "message: "),
        ({"health": {"rung": "high"}}, "health"),
        ({"health": {"throttled": 2}}, "health"),
    ],
)
def test_what_breaks_the_protocol_is_put_aside_with_its_reason(body: dict[str, Any], line: str) -> None:
    with pytest.raises(PeerError, match=line):
        message(BEGIN, 1, **body)


def test_names_that_no_database_holds_are_left_out() -> None:
    sent = [(BEGIN, "p/a/reading/\0", 1.0), (BEGIN, "p/a/reading/x", 2.0), (BEGIN, "p" * 600, 3.0)]
    found = measurements.samples(message(BEGIN, 1, samples=columns(sent)).payload)
    assert found == [(BEGIN, "p/a/reading/x", 2.0)]
    kept = decode.told({"cause": "a\0b", "rung": 1, "temperature_c": math.nan})
    assert kept == {"rung": 1}
