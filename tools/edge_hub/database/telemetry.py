"""Storing and reading telemetry: the hot path, in each database's own SQL.

Theory of operation. A batch is one transaction: rows whose key is there already fall away, whichever worker
took them in. Numbers of devices and outboxes are looked up once and kept in memory (`Numbers`): they never
change, since a device that is forgotten keeps its row. What the table shows of a device (`latest`,
`counters`) is gathered in memory and written once per interval, not once per message.

A batch that the database refuses because of a value is halved until the message is found; it goes to
``rejected``, the others are stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from edge_agent.errors import EdgeAgentError, PeerError, PlatformError
from edge_hub.database import partitions, sql
from edge_hub.database.engine import Database
from edge_hub.domain.days import UNSET

Populations = dict[str, dict[str, int | float]]
"""Population → counter → value."""


class Telemetry(NamedTuple):
    """One telemetry message. ``outbox`` is "" where none numbers it; then ``stamp`` tells it apart (ms)."""

    fleet: str
    device: str
    outbox: str
    seq: int
    stamp: int
    day: int
    t: float
    received: float
    historical: bool
    rss: int | None
    skipped: list[tuple[int, int]]
    populations: Populations
    delta: bool
    payload: bytes


Rejected = tuple[float, str, str, bytes]
"""Received (Unix seconds), topic, reason, payload."""
KEPT_BYTES = 4096
"""Of a rejected payload, at most so many bytes are kept."""

_SQLITE = (
    "INSERT OR IGNORE INTO telemetry "
    "(outbox_id, seq, stamp, day, device_id, t, received, historical, rss, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# A partition's index knows no other day: a message that was far off by the hub's clock before that was set,
# and came again after it, is looked for where it would be.
_NEW = (
    "INSERT INTO telemetry (outbox_id, seq, stamp, day, device_id, t, received, historical, rss, body) "
    "SELECT * FROM unnest(%b::int[], %b::bigint[], %b::bigint[], "
    "%b::int[], %b::int[], %b::float8[], %b::float8[], %b::bool[], %b::bigint[], %b::bytea[]) "
    "AS new (outbox_id, seq, stamp, day, device_id, t, received, historical, rss, body) "
    "WHERE NOT EXISTS (SELECT 1 FROM telemetry_day_{unset} AS old WHERE {same}) "
    "AND (new.day <> {unset} OR NOT EXISTS (SELECT 1 FROM telemetry AS old WHERE {same})) "
    "ON CONFLICT DO NOTHING"
)
_POSTGRESQL = _NEW.format(
    unset=UNSET, same="old.outbox_id = new.outbox_id AND old.seq = new.seq AND old.stamp = new.stamp"
)
_LATEST = (
    "INSERT INTO latest (device_id, heard, t, rss) VALUES (?, ?, ?, ?) ON CONFLICT (device_id) DO UPDATE SET "
    "heard = {max}(latest.heard, excluded.heard), t = {max}(latest.t, excluded.t), "
    "rss = CASE WHEN excluded.rss > 0 THEN excluded.rss ELSE latest.rss END"
)
_LATEST_SQLITE, _LATEST_POSTGRESQL = _LATEST.format(max="max"), _LATEST.format(max="greatest")
_COUNTERS = (
    "INSERT INTO counters (device_id, population, counters) VALUES (?, ?, ?) "
    "ON CONFLICT (device_id, population) DO UPDATE SET counters = "
)
_COUNTERS_SQLITE = _COUNTERS + "json_patch(counters.counters, excluded.counters)"
_COUNTERS_POSTGRESQL = _COUNTERS + "(counters.counters::jsonb || excluded.counters::jsonb)::text"


class Numbers:
    """The numbers of devices and outboxes, and the days that have a partition; one for each worker."""

    def __init__(self) -> None:
        self.devices: dict[tuple[str, str], int] = {}
        self.outboxes: dict[tuple[int, str], int] = {}
        self.days: set[int] = {UNSET}

    def find_devices(self, connection: Connection, names: Iterable[tuple[str, str]]) -> None:
        """Look the numbers of (fleet, name) up, and make those that are missing."""
        missing = sorted(name for name in names if name not in self.devices)
        if missing:
            now = time.time()
            sql.many(
                connection,
                "INSERT INTO devices (fleet, name, known_since, changed) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                [(fleet, name, now, now) for fleet, name in missing],
            )
        for name in missing:
            query = "SELECT id FROM devices WHERE fleet = ? AND name = ?"
            self.devices[name] = int(sql.one(connection, query, name))

    def find_outboxes(self, connection: Connection, keys: Iterable[tuple[int, str]]) -> None:
        """Look the numbers of (device's number, outbox) up, and make those that are missing."""
        missing = sorted(key for key in keys if key not in self.outboxes)
        sql.many(
            connection,
            "INSERT INTO outboxes (device_id, outbox) VALUES (?, ?) ON CONFLICT DO NOTHING",
            missing,
        )
        for key in missing:
            query = "SELECT id FROM outboxes WHERE device_id = ? AND outbox = ?"
            self.outboxes[key] = int(sql.one(connection, query, key))

    def forget(self) -> None:
        """Forget all: a transaction that may have made some was rolled back."""
        self.devices.clear()
        self.outboxes.clear()
        self.days = {UNSET}


def store(
    database: Database, numbers: Numbers, batch: Sequence[Telemetry], topic: Callable[[Telemetry], str]
) -> list[Rejected]:
    """Store a batch; return what the database can't hold. Committed when this returns.

    Raises
    ------
    PlatformError
        The database is not there; nothing is stored.
    """
    try:
        try:
            _store(database, numbers, batch)
        except PeerError:
            numbers.forget()  # a day that was dropped meanwhile is made anew
            _store(database, numbers, batch)
    except PeerError as error:
        numbers.forget()
        if len(batch) == 1:
            return [(batch[0].received, topic(batch[0]), str(error), batch[0].payload)]
        middle = len(batch) // 2
        halves = (batch[:middle], batch[middle:])
        return [bad for half in halves for bad in store(database, numbers, half, topic)]
    except PlatformError:
        numbers.forget()
        raise
    return []


def _store(database: Database, numbers: Numbers, batch: Sequence[Telemetry]) -> None:
    if not database.sqlite:
        partitions.make(database, numbers.days, {m.day for m in batch})
    with database.write() as connection:
        devices, outboxes = numbers.devices, numbers.outboxes
        numbers.find_devices(connection, {(m.fleet, m.device) for m in batch})
        numbers.find_outboxes(connection, {(devices[m.fleet, m.device], m.outbox) for m in batch})
        rows = []
        told: set[tuple[int, int, int]] = set()
        for m in batch:
            device = devices[m.fleet, m.device]
            outbox = outboxes[device, m.outbox]
            rows.append(
                (outbox, m.seq, m.stamp, m.day, device, m.t, m.received, m.historical, m.rss, m.payload)
            )
            if m.skipped:
                told.update((outbox, first, last) for first, last in m.skipped)
        if database.sqlite:
            sql.many(connection, _SQLITE, rows)
        else:
            rows.sort(key=lambda row: row[:3])  # one order in every worker: no deadlocks
            columns = tuple(list(column) for column in zip(*rows, strict=True))
            connection.exec_driver_sql(_POSTGRESQL, columns)
        sql.many(
            connection,
            "INSERT INTO skipped (outbox_id, first, last) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            sorted(told),
        )


def note_latest(
    database: Database,
    numbers: Numbers,
    heard: Mapping[tuple[str, str], tuple[float, float, int]],
    counters: Mapping[tuple[str, str], Mapping[str, str]],
) -> None:
    """Write down how devices are now.

    Parameters
    ----------
    database : Database
        Where.
    numbers : Numbers
        The numbers of devices.
    heard : mapping
        (fleet, device) → heard (Unix seconds, hub's clock), t (device's clock), rss (bytes, 0 is unknown).
    counters : mapping
        (fleet, device) → population → counters that changed, as JSON.
    """
    try:
        with database.write() as connection:
            numbers.find_devices(connection, {*heard, *counters})
            known = numbers.devices
            sql.many(
                connection,
                _LATEST_SQLITE if database.sqlite else _LATEST_POSTGRESQL,
                sorted((known[name], *values) for name, values in heard.items()),
            )
            changed = [(known[name], p, text) for name, row in counters.items() for p, text in row.items()]
            sql.many(
                connection, _COUNTERS_SQLITE if database.sqlite else _COUNTERS_POSTGRESQL, sorted(changed)
            )
    except EdgeAgentError:
        numbers.forget()
        raise


def put_aside(database: Database, rejected: Sequence[Rejected]) -> None:
    """Keep messages that could not be taken, with the reasons."""
    with database.write() as connection:
        sql.many(
            connection,
            "INSERT INTO rejected (received, topic, reason, size, payload) VALUES (?, ?, ?, ?, ?)",
            [
                (received, sql.clean(topic), sql.clean(reason), len(payload), payload[:KEPT_BYTES])
                for received, topic, reason, payload in rejected
            ],
        )
