"""Storing telemetry, on SQLite and on PostgreSQL."""

import json
import sqlite3
import threading
from pathlib import Path

import pytest

from edge_agent.errors import ConfigError, PeerError, PlatformError
from edge_agent.wire import messages
from edge_agent.wire.messages import Message
from edge_hub.archive import Archive
from edge_hub.database import devices, leases, sql, telemetry
from edge_hub.database.engine import Database
from edge_hub.database.gaps import gaps
from edge_hub.database.leases import Lease
from edge_hub.database.migrate import migrate
from edge_hub.database.schema import HEAD, metadata
from edge_hub.database.telemetry import Numbers
from edge_hub.ingest import decode

NOW = 1_790_000_000.0


def say(
    seq: int, device: str = "a", outbox: str | None = "x", t: float = NOW, **body: object
) -> decode.Telemetry:
    named = {} if outbox is None else {"outbox": outbox}
    return decode.telemetry("lab", device, messages.encode(Message(named | body, seq=seq, t=t)), NOW)


def store(database: Database, *batch: decode.Telemetry, numbers: Numbers | None = None) -> list:
    return telemetry.store(database, numbers or Numbers(), list(batch), lambda m: m.device)


def count(database: Database, table: str = "telemetry") -> int:
    with database.read() as connection:
        return int(sql.one(connection, f"SELECT count(*) FROM {table}"))


def test_a_message_is_stored_once_whoever_took_it_in(database: Database) -> None:
    store(database, say(1), say(2), say(2), say(1, device="b"))
    store(database, say(2), say(3), numbers=Numbers())
    assert count(database) == 4


def test_without_an_outbox_a_restart_loses_nothing(database: Database) -> None:
    store(
        database, say(1, outbox=None, t=NOW), say(1, outbox=None, t=NOW + 5), say(1, outbox=None, t=NOW + 5)
    )
    assert count(database) == 2


def test_every_column_of_a_batch_is_as_it_was_said(database: Database) -> None:
    batch = [
        say(n, "ab"[n % 2], t=NOW + n / 8, rss=n % 3 * 2**40, historical=n % 5 == 0) for n in range(1, 119)
    ]
    batch += [say(2**63 - 1, t=-1.5, fill=b"\0\xff" * 300), say(7, outbox=None, t=NOW - 0.25)]
    store(database, *batch)
    wanted = sorted(
        (m.device, m.outbox, m.seq, m.stamp, m.day, m.t, m.received, m.historical, m.rss, m.payload)
        for m in batch
    )
    query = (
        "SELECT d.name, o.outbox, t.seq, t.stamp, t.day, t.t, t.received, t.historical, t.rss, t.body "
        "FROM telemetry t JOIN devices d ON d.id = t.device_id JOIN outboxes o ON o.id = t.outbox_id"
    )
    with database.read() as connection:
        found = sorted((*row[:9], bytes(row[9])) for row in sql.run(connection, query))
    assert found == wanted
    assert {row[8] for row in found} == {None, 2**40, 2**41}


def test_the_payload_is_kept_as_it_came(database: Database) -> None:
    message = say(1, populations={"rooms": {"tick": 3}}, unknown=b"\x00\xff")
    store(database, message)
    with database.read() as connection:
        assert bytes(sql.one(connection, "SELECT body FROM telemetry")) == message.payload


def test_days_are_made_as_they_come_and_a_clock_that_is_far_off_makes_none(database: Database) -> None:
    ages = [0.0, 3600.0, NOW - 86_400 * 3, NOW, NOW + 86_400 * 40]
    store(database, *(say(n + 1, t=t) for n, t in enumerate(ages)))
    with database.read() as connection:
        days = [row[0] for row in sql.run(connection, "SELECT day FROM telemetry ORDER BY seq")]
    today = int(NOW // 86_400)
    assert days == [0, 0, today - 3, today, 0]


def test_a_value_that_the_database_refuses_does_not_stop_the_others(database: Database) -> None:
    too_large = say(5)._replace(seq=2**63)
    bad = store(database, *(say(n) for n in range(1, 5)), too_large, say(6), say(7))
    assert [(topic, payload) for _, topic, _, payload in bad] == [("a", too_large.payload)]
    assert count(database) == 6
    telemetry.put_aside(database, bad)
    assert count(database, "rejected") == 1


def test_what_is_put_aside_may_hold_anything(database: Database) -> None:
    telemetry.put_aside(database, [(NOW, "edge/\0/\ud800", "found '\0'", b"\0" * 10_000)])
    with database.read() as connection:
        row = sql.run(connection, "SELECT topic, reason, size, payload FROM rejected").one()
    assert (row.size, len(row.payload)) == (10_000, telemetry.KEPT_BYTES)
    assert "\0" not in row.topic


def test_counters_are_merged_and_hearing_only_goes_forward(database: Database) -> None:
    numbers, name = Numbers(), ("lab", "a")
    telemetry.note_latest(
        database, numbers, {name: (10.0, 9.0, 500)}, {name: {"rooms": '{"tick": 1, "missed": 2}'}}
    )
    telemetry.note_latest(database, numbers, {name: (8.0, 7.0, 0)}, {name: {"rooms": '{"tick": 5}'}})
    with database.read() as connection:
        assert tuple(sql.run(connection, "SELECT heard, t, rss FROM latest").one()) == (10.0, 9.0, 500)
        assert json.loads(sql.one(connection, "SELECT counters FROM counters")) == {"tick": 5, "missed": 2}


def test_workers_that_store_the_same_devices_at_once_lose_nothing_and_do_not_lock_up(
    database: Database,
) -> None:
    """As a shared subscription gives them: each worker a part of every device's messages, some twice."""
    failures: list[BaseException] = []

    def work(part: int) -> None:
        numbers = Numbers()
        try:
            for start in range(0, 200, 20):
                batch = [say(n, device=f"d{n % 7}") for n in range(start, start + 25) if n % 4 != part]
                store(database, *batch, numbers=numbers)
                heard = {("lab", f"d{n}"): (NOW + start, NOW, 1) for n in range(7)}
                telemetry.note_latest(database, numbers, heard, {})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert count(database) == 205


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        messages.encode(Message({"outbox": "x"}, seq=-1)),
        messages.encode(Message({"outbox": "x"}, seq=2**63)),
        messages.encode(Message({"outbox": "x", "rss": "much"}, seq=1)),
        messages.encode(Message({"outbox": "x", "skipped": [5]}, seq=1)),
        messages.encode(Message({"outbox": "x", "skipped": [[5, 4]]}, seq=1)),
        messages.encode(Message({"outbox": "x\0"}, seq=1)),
        messages.encode(Message({"outbox": "x"}, seq=1, t=float("nan"))),
        messages.encode(Message({"outbox": "x"}, seq=1, t=1e300)),
        messages.encode(Message({"outbox": "x", "populations": {"p": {"tick": "1"}}}, seq=1)),
        messages.encode(Message({"outbox": "x", "populations": {"p": {"tick": True}}}, seq=1)),
        messages.encode(Message({"outbox": "x", "fill": "x" * messages.MAX_BYTES}, seq=1)),
    ],
)
def test_malformed_telemetry_is_refused(payload: bytes) -> None:
    with pytest.raises(PeerError, match="message"):
        decode.telemetry("lab", "a", payload, NOW)


def test_a_file_from_before_the_schema_is_taken_over_whole(tmp_path: Path) -> None:
    """As ``edge-hub ingest FILE`` made it: what the archive says of gaps must still be there to be said."""
    path = tmp_path / "old.db"
    archive = Archive(path)
    topic = "edge/v1/lab/a/up/telemetry"
    body = {"outbox": "x", "rss": 7, "populations": {"rooms": {"tick": 3}}}
    batch = [(topic, messages.encode(Message(body, seq=n, t=NOW + n))) for n in (1, 2, 5)]
    batch.append((topic, messages.encode(Message({"outbox": "x", "skipped": [[3, 4]]}, seq=6, t=NOW))))
    batch += [(topic, messages.encode(Message({}, seq=1, t=NOW + n))) for n in (1, 2)]
    archive.store(batch)
    archive.close()

    database = Database(str(path))
    assert migrate(database) == ("", HEAD)
    assert (count(database), count(database, "skipped"), count(database, "devices")) == (6, 1, 1)
    store(database, say(5, t=NOW + 5), say(7))
    assert count(database) == 7
    with database.read() as connection:
        raw = sql.one(connection, "SELECT body FROM telemetry WHERE seq = 2")
    assert messages.decode(raw) == Message(body, seq=2, t=NOW + 2)
    database.close()


def test_the_migrations_make_the_tables_that_the_queries_know(database: Database) -> None:
    from sqlalchemy import inspect

    with database.read() as connection:
        found = {
            (table, column["name"], column["nullable"])
            for table in metadata.tables
            for column in inspect(connection).get_columns(table)
        }
    known = {(t.name, c.name, bool(c.nullable)) for t in metadata.tables.values() for c in t.columns}
    assert found == known


def test_migrating_twice_changes_nothing_and_another_schema_is_refused(database: Database) -> None:
    assert migrate(database) == (HEAD, HEAD)
    database.check()
    with database.write() as connection:
        sql.run(connection, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match=r"schema is 9999, expected"):
        database.check()
    with pytest.raises(ConfigError, match="schema is 9999, this program knows"):
        migrate(database)


def test_an_address_of_another_database_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigError, match="expected a file or postgresql") as refused:
        Database("mysql://me:secret@host/x")
    assert "secret" not in str(refused.value)


def test_a_database_that_is_not_there_is_the_platforms_fault(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"missing/hub\.db"):
        Database(str(tmp_path / "missing" / "hub.db"))
    gone = Database("postgresql://edge:secret@127.0.0.1:1/x")
    with pytest.raises(PlatformError) as refused:
        gone.revision()
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(PlatformError, match="not a database"):
        Database(str(path)).revision()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "hub.db"))
    migrate(database)
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o600"}
    database.close()


def test_a_commit_is_on_disk_before_it_returns(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "hub.db"))
    migrate(database)
    with database.write() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()


def test_a_lease_has_one_holder_until_it_ends(database: Database) -> None:
    one, two = Lease(database, "x"), Lease(database, "x")
    assert one.acquire()
    assert one.acquire()
    assert not two.acquire()
    two.give_back()
    assert not two.acquire()
    assert (one.held, two.held) == (True, False)
    ended = Lease(database, "y", seconds=-1.0)
    three = Lease(database, "y")
    assert ended.acquire()
    assert not ended.held
    assert three.acquire()
    assert not ended.acquire()
    assert leases.holder(database, "y") == three.holder
    one.give_back()
    assert not one.held
    assert two.acquire()


def test_a_lease_from_before_the_clock_was_set_back_is_over(database: Database) -> None:
    killed, other, third = (leases.Lease(database, "jobs") for _ in range(3))
    assert killed.acquire()
    assert not other.acquire()
    with database.write() as connection:
        sql.run(connection, "UPDATE leases SET expires = expires + 3600")
    assert other.acquire()
    assert not third.acquire()


def test_another_process_that_holds_the_file_is_waited_for(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "hub.db"))
    migrate(database)
    other = sqlite3.connect(tmp_path / "hub.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Event()

    def write() -> None:
        store(database, say(1))
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert not done.wait(0.05)
    other.execute("COMMIT")
    thread.join()
    assert done.is_set()
    assert count(database) == 1
    other.close()
    database.close()


def test_gaps_are_what_is_missing_and_was_not_thinned_out(database: Database) -> None:
    store(database, *(say(n) for n in (1, 2, 7)), say(8, skipped=[[2, 4], [4, 5]]), say(1, device="b"))
    store(database, say(1, device="c", outbox=None))
    row, other = gaps(database)
    wanted = {"fleet": "lab", "device": "a", "outbox": "x", "first": 1, "last": 8, "messages": 4}
    assert row == wanted | {"thinned": 3, "gaps": 1}
    assert (other["device"], other["gaps"]) == ("b", 0)
    with database.read() as connection:
        number = devices.number(connection, "lab", "b")
    assert gaps(database, number) == [other]
