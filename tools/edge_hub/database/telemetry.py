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
from edge_hub.database import message_rows, partitions, rollups, sql
from edge_hub.database.engine import Database
from edge_hub.domain.days import UNSET

Populations = dict[str, dict[str, int | float]]
"""Population → counter → value."""
Health = dict[str, int | float | str]
HEALTH_ROW = ".health"
"""Under this name a device's health stands among the counters; no population has such a name."""


class Telemetry(NamedTuple):
    """One telemetry message. ``outbox`` is "" where none numbers it; then ``stamp`` tells it apart (ms).

    From ``seq`` to ``payload`` the order is that of `message_rows.Columns`.
    """

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
    payload: bytes
    skipped: list[tuple[int, int]]
    populations: Populations
    delta: bool
    health: Health


Place = tuple[int, int]
"""Numbers of an outbox and of its device."""
Rejected = tuple[float, str, str, bytes]
"""Received (Unix seconds), topic, reason, payload."""
KEPT_BYTES = 4096
"""Of a rejected payload, at most so many bytes are kept."""

# PostgreSQL takes all rows at once, one array per column: one after the other they take ten times as long.
# Every worker writes in one order, so that none waits for another that waits for it.
_LATEST = (
    "INSERT INTO latest (device_id, heard, t, rss) {rows} ON CONFLICT (device_id) DO UPDATE SET "
    "heard = {max}(latest.heard, excluded.heard), t = {max}(latest.t, excluded.t), "
    "rss = CASE WHEN excluded.rss > 0 THEN excluded.rss ELSE latest.rss END"
)
_LATEST_SQLITE = _LATEST.format(rows="VALUES (?, ?, ?, ?)", max="max")
_LATEST_POSTGRESQL = _LATEST.format(
    rows="SELECT * FROM unnest(%b::int[], %b::float8[], %b::float8[], %b::bigint[]) AS new (id) ORDER BY id",
    max="greatest",
)
_COUNTERS = (
    "INSERT INTO counters (device_id, population, counters) {rows} "
    "ON CONFLICT (device_id, population) DO UPDATE SET counters = {merged}"
)
_COUNTERS_SQLITE = _COUNTERS.format(
    rows="VALUES (?, ?, ?)", merged="json_patch(counters.counters, excluded.counters)"
)
_COUNTERS_POSTGRESQL = _COUNTERS.format(
    rows="SELECT * FROM unnest(%b::int[], %b::text[], %b::text[]) AS new (id, name) ORDER BY id, name",
    merged="(counters.counters::jsonb || excluded.counters::jsonb)::text",
)


class Numbers:
    """The numbers of devices and outboxes, and the days that have a partition; one for each worker."""

    def __init__(self) -> None:
        self.devices: dict[tuple[str, str], int] = {}
        self.outboxes: dict[tuple[int, str], int] = {}
        self.places: dict[tuple[str, str, str], Place] = {}
        self.days: set[int] = {UNSET}

    def find_places(self, connection: Connection, keys: Iterable[tuple[str, str, str]]) -> None:
        """Look the numbers of (fleet, device, outbox) up, and make those that are missing."""
        missing = set(keys) - self.places.keys()
        self.find_devices(connection, {(fleet, device) for fleet, device, _ in missing})
        numbered = {key: (self.devices[key[0], key[1]], key[2]) for key in missing}
        self.find_outboxes(connection, numbered.values())
        for key, (device, outbox) in numbered.items():
            self.places[key] = self.outboxes[device, outbox], device

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
        for fleet in {fleet for fleet, _ in missing}:
            wanted, names_ = sql.any_of(connection, [name for place, name in missing if place == fleet])
            query = f"SELECT name, id FROM devices WHERE fleet = ? AND name {wanted}"  # noqa: S608 - no input  # nosec B608
            found = sql.run(connection, query, (fleet, names_)).all()
            self.devices.update({(fleet, name): int(number) for name, number in found})

    def find_outboxes(self, connection: Connection, keys: Iterable[tuple[int, str]]) -> None:
        """Look the numbers of (device's number, outbox) up, and make those that are missing."""
        missing = sorted(key for key in keys if key not in self.outboxes)
        if not missing:
            return
        sql.many(
            connection,
            "INSERT INTO outboxes (device_id, outbox) VALUES (?, ?) ON CONFLICT DO NOTHING",
            missing,
        )
        wanted, devices = sql.any_of(connection, sorted({device for device, _ in missing}))
        query = f"SELECT device_id, outbox, id FROM outboxes WHERE device_id {wanted}"  # noqa: S608 - no input  # nosec B608
        found = sql.run(connection, query, (devices,)).all()
        self.outboxes.update({(device, outbox): int(number) for device, outbox, number in found})

    def forget(self) -> None:
        """Forget all: a transaction that may have made some was rolled back."""
        self.devices.clear()
        self.outboxes.clear()
        self.places.clear()
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
        partitions.make(database, partitions.TELEMETRY, numbers.days, {m.day for m in batch})
    with database.write() as connection:
        try:
            columns = _columns(batch, numbers.places)
        except KeyError:
            numbers.find_places(connection, (message[:3] for message in batch))
            columns = _columns(batch, numbers.places)
        message_rows.insert(connection, columns)
        told = {
            (numbers.places[message[:3]][0], *part)
            for message in batch
            if message.skipped
            for part in message.skipped
        }
        sql.many(
            connection,
            "INSERT INTO skipped (outbox_id, first, last) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            sorted(told),
        )
        devices, stored_days, times = (columns[place :: message_rows.WIDTH] for place in (1, 4, 5))
        touched = {
            (device, t // rollups.MINUTE_S)
            for device, day, t in zip(devices, stored_days, times, strict=True)
            if day != UNSET
        }
        rollups.note(connection, [(device, int(minute)) for device, minute in touched])


def _columns(
    batch: Sequence[Telemetry], places: Mapping[tuple[str, str, str], Place]
) -> message_rows.Columns:
    # By number, not by name: a name per field costs more than all the rest.
    columns: message_rows.Columns = []
    for message in batch:
        columns += places[message[:3]]
        columns += message[3:11]
    return columns


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
            latest = [(known[name], *values) for name, values in heard.items()]
            changed = [(known[name], p, text) for name, row in counters.items() for p, text in row.items()]
            if database.sqlite:
                sql.many(connection, _LATEST_SQLITE, latest)
                sql.many(connection, _COUNTERS_SQLITE, changed)
            else:
                from edge_hub.database import binary_arrays  # psycopg: not where the database is SQLite

                for statement, codes, rows in (
                    (_LATEST_POSTGRESQL, "iddq", latest),
                    (_COUNTERS_POSTGRESQL, "iss", changed),
                ):
                    if rows:
                        binary_arrays.run(connection, statement, codes, list(zip(*rows, strict=True)))
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
