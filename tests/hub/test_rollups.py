"""Roll-ups per minute and hour, against the same figures computed from what was sent."""

import itertools
import math
import random
import statistics

import pytest

from edge_agent.wire import messages
from edge_agent.wire.messages import Message
from edge_hub.database import expiry, history, measurements, partitions, rollups, sql, telemetry
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.database.telemetry import Numbers
from edge_hub.domain.days import DAY_S, WEEK_S
from edge_hub.ingest import decode
from edge_hub.jobs.maintenance import Maintenance, Retention

NOW = 1_790_000_000.0 // 3600 * 3600
Sent = tuple[str, int, float, dict[str, float]]
"""Device, number, time, counters of the population ``rooms``."""


def sent(count: int, devices: int = 3, spread: float = 3 * 3600.0, seed: int = 7) -> list[Sent]:
    draw = random.Random(seed)
    found = []
    for n in range(count):
        counters = {"tick": float(n), "heat": draw.uniform(-5.0, 5.0)}
        kept = {name: value for name, value in counters.items() if draw.random() < 0.7}
        found.append((f"d{n % devices}", n + 1, NOW - spread + draw.random() * spread, kept))
    return found


def store(database: Database, rows: list[Sent], now: float = NOW) -> None:
    batch = []
    for device, seq, t, counters in rows:
        body = {"outbox": "x", "delta": True, "populations": {"rooms": counters}}
        payload = messages.encode(Message(body, seq=seq, t=t))
        batch.append(decode.telemetry("lab", device, payload, now))
    assert telemetry.store(database, Numbers(), batch, str) == []


def expected(rows: list[Sent], seconds: int) -> dict[tuple[str, int], dict[str, tuple[float, ...]]]:
    """The formula: of each series and period count, least, most, sum and the newest value."""
    parts: dict[tuple[str, int], list[Sent]] = {}
    for row in sorted(rows, key=lambda row: row[2]):
        parts.setdefault((row[0], math.floor(row[2] / seconds) * seconds), []).append(row)
    made = {}
    for key, members in parts.items():
        series: dict[str, list[float]] = {}
        for _, _, _, counters in members:
            for name, value in counters.items():
                series.setdefault(f"rooms/{name}", []).append(value)
        made[key] = {name: (len(v), min(v), max(v), math.fsum(v), v[-1]) for name, v in series.items()}
    return made


def stored(database: Database, table: str) -> dict[tuple[str, int], dict[str, tuple[float, ...]]]:
    query = f"SELECT d.name, r.start, r.body FROM {table} r JOIN devices d ON d.id = r.device_id"
    with database.read() as connection:
        rows = sql.run(connection, query).all()
    return {(name, start): measurements.unpacked(bytes(body)) for name, start, body in rows}


def assert_rolled_up(database: Database, rows: list[Sent]) -> None:
    for table, seconds in ((rollups.MINUTES, 60), (rollups.HOURS, 3600)):
        found, wanted = stored(database, table), expected(rows, seconds)
        assert found.keys() == wanted.keys()
        for key, series in wanted.items():
            assert found[key].keys() == series.keys()
            for name, summary in series.items():
                assert found[key][name] == pytest.approx(summary, rel=1e-12)


def number(database: Database, name: str) -> int:
    with database.read() as connection:
        return int(sql.one(connection, "SELECT id FROM devices WHERE name = ?", (name,)))


def count(database: Database, table: str) -> int:
    with database.read() as connection:
        return int(sql.one(connection, f"SELECT count(*) FROM {table}"))


def test_minutes_and_hours_are_what_the_messages_say(database: Database) -> None:
    rows = sent(2000)
    store(database, rows)
    assert rollups.advance(database, NOW + 3600)
    assert_rolled_up(database, rows)
    assert count(database, "rollup_queue") == count(database, "hour_queue") == 0


def test_batches_in_any_order_and_again_give_the_same(database: Database) -> None:
    rows = sent(900)
    mixed = random.Random(1).sample(rows, len(rows))
    for first in range(0, len(mixed), 100):
        store(database, mixed[first : first + 100])
        store(database, mixed[: first + 50])
        rollups.advance(database, NOW - 3600.0)
    assert rollups.advance(database, NOW + 3600)
    assert_rolled_up(database, rows)


def test_the_next_process_goes_on_where_one_was_killed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "PERIODS", 40)
    rows = sent(800)
    store(database, rows[:600])
    write, left = rollups._write, itertools.count()

    def killed(*arguments: object) -> None:
        if next(left) % 3 == 2:
            raise SystemExit("killed")
        write(*arguments)

    monkeypatch.setattr(rollups, "_write", killed)
    with pytest.raises(SystemExit):
        rollups.advance(database, NOW + 3600)
    store(database, rows[600:])
    with pytest.raises(SystemExit):
        rollups.advance(database, NOW + 3600)
    monkeypatch.setattr(rollups, "_write", write)
    assert rollups.advance(database, NOW + 3600)
    assert_rolled_up(database, rows)


def test_who_loses_the_lease_leaves_the_rest(database: Database) -> None:
    store(database, sent(50))
    assert not rollups.advance(database, NOW + 3600, lambda: False)
    assert count(database, "minutes") == 0
    assert rollups.advance(database, NOW + 3600)


def test_an_hour_is_made_once_it_is_over(database: Database) -> None:
    store(database, [("a", 1, NOW + 10.0, {"tick": 1.0})])
    rollups.advance(database, NOW + 3600.0)
    assert (count(database, "minutes"), count(database, "hours")) == (1, 0)
    rollups.advance(database, NOW + 3600.0 + rollups.GRACE_S)
    assert count(database, "hours") == 1


def test_what_comes_after_the_messages_were_deleted_takes_nothing_away(database: Database) -> None:
    old = NOW - 40 * DAY_S
    rows: list[Sent] = [("a", n, old + n, {"tick": float(n)}) for n in range(1, 11)]
    store(database, rows, now=old)
    rollups.advance(database, NOW)
    expiry.telemetry(database, NOW - 30 * DAY_S)
    assert count(database, "telemetry") == 0
    late: list[Sent] = [("a", 11, old + 11, {"tick": 11.0}), ("a", 12, old + 600, {"tick": 12.0})]
    store(database, late)
    rollups.advance(database, NOW)
    found = stored(database, "minutes")
    assert found["a", int(old)]["rooms/tick"][:3] == (10, 1.0, 10.0)
    assert found["a", int(old) + 600]["rooms/tick"] == (1, 12.0, 12.0, 12.0, 12.0)
    assert stored(database, "hours")["a", int(old)]["rooms/tick"][0] == 11


def test_a_message_whose_clock_was_far_off_belongs_to_no_minute(database: Database) -> None:
    store(database, [("a", 1, 100.0, {"tick": 1.0}), ("a", 2, NOW, {"tick": 2.0})])
    rollups.advance(database, NOW + 7200)
    assert stored(database, "minutes").keys() == {("a", int(NOW))}


def test_a_database_from_before_is_rolled_up_with_all_it_holds(data: str) -> None:
    rows = sent(1500)
    with Database(data) as database:
        migrate(database, "0003")
        with database.write() as connection:
            numbers = Numbers()
            numbers.find_devices(connection, {("lab", row[0]) for row in rows})
        days = {int(row[2] // DAY_S) for row in rows}
        if not database.sqlite:
            partitions.make(database, "telemetry", set(), days)
        with database.write() as connection:
            for device, seq, t, counters in rows:
                payload = messages.encode(Message({"populations": {"rooms": counters}}, seq=seq, t=t))
                query = (
                    "INSERT INTO telemetry "
                    "(outbox_id, seq, stamp, day, device_id, t, received, historical, body) "
                    "VALUES (1, ?, 0, ?, ?, ?, ?, ?, ?)"
                )
                place = numbers.devices["lab", device]
                sql.run(connection, query, (seq, int(t // DAY_S), place, t, t, False, payload))
        assert migrate(database)[0] == "0003"
        assert rollups.advance(database, NOW + 3600)
        assert_rolled_up(database, rows)


@pytest.mark.parametrize("resolution", ["raw", "minute", "hour"])
@pytest.mark.parametrize("statistic", ["last", "min", "max", "mean"])
def test_one_point_is_the_same_from_each_resolution(
    database: Database, resolution: history.Resolution, statistic: history.Statistic
) -> None:
    rows = sent(600, devices=1)
    store(database, rows)
    rollups.advance(database, NOW + 3600)
    values = [row[3]["heat"] for row in sorted(rows, key=lambda row: row[2]) if "heat" in row[3]]
    formula = {"last": values[-1], "min": min(values), "max": max(values), "mean": statistics.fmean(values)}
    found = history.series(database, number(database, "d0"), 0.0, 1e12, 1, statistic, resolution)
    assert found["resolution"] == resolution
    assert found["values"]["rooms/heat"] == pytest.approx([formula[statistic]], rel=1e-12)


def test_a_series_is_read_where_it_suits(database: Database) -> None:
    rows: list[Sent] = [("a", n + 1, NOW - n * 30.0, {"tick": -float(n)}) for n in range(4000)]
    store(database, rows)
    rollups.advance(database, NOW + 7200)
    device = number(database, "a")

    def resolution(span: float, points: int) -> str:
        found = history.series(database, device, NOW - span, NOW, points)
        assert len(found["t"]) <= points
        return str(found["resolution"])

    assert resolution(1800.0, 100) == "raw"
    assert resolution(30_000.0, 100) == "minute"
    assert resolution(119_000.0, 20) == "hour"
    with database.write() as connection:
        sql.run(connection, "DELETE FROM telemetry WHERE t < ?", (NOW - 900.0,))
    assert resolution(1800.0, 100) == "minute"
    assert resolution(600.0, 100) == "raw"
    with database.write() as connection:
        sql.run(connection, "DELETE FROM minutes WHERE start < ?", (NOW - 7200.0,))
    assert resolution(30_000.0, 1000) == "hour"


def test_what_is_newer_than_the_last_roll_up_is_shown(database: Database) -> None:
    store(database, [("a", 1, NOW - 7200.0, {"tick": 1.0})])
    rollups.advance(database, NOW)
    store(database, [("a", 2, NOW, {"tick": 2.0})])
    found = history.series(database, number(database, "a"), 0.0, 1e12, 50, resolution="hour")
    assert found["t"] == [NOW - 7200.0, NOW]
    assert found["values"] == {"rooms/tick": [1.0, 2.0]}


def test_roll_ups_go_by_their_own_age(database: Database) -> None:
    ages = [400 * DAY_S - 1, 200 * DAY_S, DAY_S]
    for n, age in enumerate(ages, 1):
        store(database, [("a", n, NOW - age, {"tick": 1.0})], now=NOW - age)
    rollups.advance(database, NOW)
    expiry.rolled_up(database, NOW - 365 * DAY_S)
    wanted = {("a", int((NOW - age) // 60) * 60) for age in ages[1:]}
    assert stored(database, "minutes").keys() == wanted
    assert len(stored(database, "hours")) == 2
    if not database.sqlite:
        weeks = [int((NOW - age) // WEEK_S) for age in (200 * DAY_S, DAY_S)]
        assert partitions.existing(database, "minutes") == weeks


def test_the_oldest_telemetry_goes_when_there_is_too_much(database: Database) -> None:
    filler = {f"counter{n}": float(n) for n in range(60)}
    for day in (3, 2, 1, 0):
        rows: list[Sent] = [("a", 1 + n + 1000 * day, NOW - day * DAY_S, filler) for n in range(700)]
        store(database, rows, now=NOW - day * DAY_S)
    limit = int(expiry.used(database) * 0.6)
    keep = Retention(days=30.0, bytes=limit)
    Maintenance(database, keep).sweep(NOW)
    assert expiry.used(database) <= limit
    with database.read() as connection:
        left = [row[0] for row in sql.run(connection, "SELECT DISTINCT t FROM telemetry ORDER BY t").all()]
    assert 1 <= len(left) < 4
    assert left == [NOW - day * DAY_S for day in range(len(left) - 1, -1, -1)]
    assert len(stored(database, "minutes")) == 4
    expiry.telemetry_over(database, 1, NOW - 3600.0)
    assert count(database, "telemetry") == 700  # what has just arrived stays
