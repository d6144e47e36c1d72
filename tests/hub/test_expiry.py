"""What is too old goes, and nothing else."""

import time

from edge_agent.wire import messages
from edge_agent.wire.messages import Message
from edge_hub.database import accounts, expiry, partitions, sql, telemetry
from edge_hub.database.engine import Database
from edge_hub.database.telemetry import Numbers
from edge_hub.domain import secrets
from edge_hub.domain.days import DAY_S
from edge_hub.ingest import decode
from edge_hub.jobs.maintenance import Maintenance, Retention

NOW = 1_790_000_000.0


def store(database: Database, ages: list[float], clocks: list[float] | None = None) -> None:
    """Messages that arrived so many seconds ago, made at the same time or at ``clocks``."""
    batch = []
    for n, age in enumerate(ages, 1):
        t = clocks[n - 1] if clocks else NOW - age
        payload = messages.encode(Message({"outbox": "x"}, seq=n, t=t))
        batch.append(decode.telemetry("lab", "a", payload, NOW - age))
    telemetry.store(database, Numbers(), batch, str)


def left(database: Database) -> list[int]:
    with database.read() as connection:
        return [row[0] for row in sql.run(connection, "SELECT seq FROM telemetry ORDER BY seq")]


def test_telemetry_goes_by_its_age(database: Database) -> None:
    store(database, [40 * DAY_S, 32 * DAY_S, 3 * DAY_S, 0.0])
    expiry.telemetry(database, NOW - 30 * DAY_S)
    assert left(database) == [3, 4]
    expiry.telemetry(database, NOW - 30 * DAY_S)
    assert left(database) == [3, 4]
    if not database.sqlite:
        days = partitions.existing(database, "telemetry")
        assert days == [int((NOW - 3 * DAY_S) // DAY_S), int(NOW // DAY_S)]


def test_more_than_one_step_goes_too(database: Database) -> None:
    store(database, [40 * DAY_S] * (2 * expiry.STEP + 7) + [0.0])
    expiry.telemetry(database, NOW - 30 * DAY_S)
    assert len(left(database)) == 1


def test_messages_whose_clock_was_far_off_go_by_the_time_of_arrival(database: Database) -> None:
    store(database, [40 * DAY_S, DAY_S], clocks=[100.0, 100.0])
    expiry.telemetry(database, NOW - 30 * DAY_S)
    assert left(database) == [2]


def test_telemetry_is_taken_in_after_its_day_was_dropped(database: Database) -> None:
    numbers = Numbers()
    payload = messages.encode(Message({"outbox": "x"}, seq=1, t=NOW - 40 * DAY_S))
    message = decode.telemetry("lab", "a", payload, NOW)
    telemetry.store(database, numbers, [message], str)
    expiry.telemetry(database, NOW + DAY_S)
    telemetry.store(database, numbers, [message._replace(seq=2)], str)
    assert left(database) == [2]


def test_rejected_messages_are_kept_for_a_while_and_in_bounds(database: Database) -> None:
    telemetry.put_aside(database, [(NOW - 40 * DAY_S, "t", "old", b""), (NOW, "t", "new", b"")])
    expiry.rejected(database, NOW - 30 * DAY_S)
    with database.read() as connection:
        assert [row[0] for row in sql.run(connection, "SELECT reason FROM rejected")] == ["new"]


def test_a_sweep_does_all_of_it(database: Database) -> None:
    now = time.time()
    with database.write() as connection:
        number = accounts.add_user(connection, "ann", "viewer", "", now)
        accounts.add_session(connection, secrets.digest("a"), number, "c", now, now - 1)
    store(database, [0.0])
    Maintenance(database, Retention(days=30)).sweep(NOW + 100 * DAY_S)
    assert left(database) == []
    with database.read() as connection:
        assert sql.one(connection, "SELECT count(*) FROM sessions") == 0
