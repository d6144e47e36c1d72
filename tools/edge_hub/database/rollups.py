"""Roll-ups: what each series of a device did in each minute and in each hour.

Theory of operation. Ingest notes in the transaction of a batch which minutes of which devices it touched
(``rollup_queue``, one row per batch). `advance` takes these notes, makes the minutes anew from the messages
themselves, and removes the notes after that. So nothing is missed, whatever comes late or from whichever
worker, and doing it twice gives the same: a process that is killed leaves the rest to the next.

Samples of agents count in the minute of the message that carries them: it is made at most a telemetry
interval later, and so a minute is always made of whole messages.

An hour is made of its minutes once it is over, and again when a minute of it changes (``hour_queue``).
Messages may have been deleted since a minute was made of them. So a minute is replaced only by one made of at
least as many messages, and an hour likewise. A message whose clock was far off belongs to no minute.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from edge_hub.database import measurements, partitions, sql
from edge_hub.database.engine import Database
from edge_hub.domain import summaries
from edge_hub.domain.days import WEEK_S
from edge_hub.domain.summaries import Summary

MINUTE_S, HOUR_S = 60, 3600
MINUTES, HOURS = "minutes", "hours"
LENGTHS = {MINUTES: MINUTE_S, HOURS: HOUR_S}
NOTES = 64
"""Notes of ingest that are worked off together."""
PERIODS = 500
"""Minutes or hours that are written in one transaction."""
GRACE_S = 60.0
"""An hour is made so long after its end."""

Minute = tuple[int, int]
"""A device's number, and minutes since 1970."""

_notes = msgspec.msgpack.Decoder(list[int])

_RAW_SQLITE = (
    "SELECT t.device_id, t.t, t.seq, t.body FROM (SELECT json_extract(value, '$[0]') AS device, "
    "json_extract(value, '$[1]') AS minute FROM json_each(?)) AS wanted CROSS JOIN telemetry AS t "
    "WHERE t.device_id = wanted.device AND t.t >= wanted.minute * 60.0 AND t.t < wanted.minute * 60.0 + 60.0 "
    "AND t.day = wanted.minute / 1440"
)
# OFFSET 0 keeps the planner from reading all days at once: each minute is looked up in its own day.
_RAW_POSTGRESQL = (
    "SELECT found.* FROM unnest(%b::int[], %b::bigint[]) AS wanted (device, minute) CROSS JOIN LATERAL "
    "(SELECT t.device_id, t.t, t.seq, t.body FROM telemetry AS t WHERE t.device_id = wanted.device "
    "AND t.t >= wanted.minute * 60.0 AND t.t < wanted.minute * 60.0 + 60.0 "
    "AND t.day = wanted.minute / 1440 OFFSET 0) AS found"
)
_WRITE = (
    "INSERT INTO {table} (device_id, start, week, messages, body) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (device_id, start, week) DO UPDATE SET messages = excluded.messages, body = excluded.body "
    "WHERE excluded.messages >= {table}.messages"
)


class Period(NamedTuple):
    """A minute or an hour of a device: ``start`` in Unix seconds, and how many messages it was made of."""

    device: int
    start: int
    messages: int
    found: dict[str, Summary]


def note(connection: Connection, touched: Iterable[Minute]) -> None:
    """Note which minutes of which devices a batch touched, in the batch's own transaction."""
    flat = list(itertools.chain.from_iterable(touched))
    if flat:
        sql.run(connection, "INSERT INTO rollup_queue (minutes) VALUES (?)", (msgspec.msgpack.encode(flat),))


def advance(database: Database, now: float, go_on: Callable[[], bool] = lambda: True) -> bool:
    """Bring minutes and hours up to what is stored; return whether all of it was done.

    Parameters
    ----------
    database : Database
        Of what.
    now : float
        Unix seconds; hours that ended a while before are made.
    go_on : callable
        Asked between transactions; False leaves the rest for the next time.

    Raises
    ------
    PlatformError
        The database is not there; what is left is done the next time.
    """
    known: dict[str, set[int]] = {MINUTES: set(), HOURS: set()}
    while go_on():
        with database.read() as connection:
            query = "SELECT id, minutes FROM rollup_queue ORDER BY id LIMIT ?"
            notes = sql.run(connection, query, (NOTES,)).all()
        if not notes:
            return _hours(database, int((now - GRACE_S) // HOUR_S), known, go_on)
        flat = [_notes.decode(bytes(text)) for _, text in notes]
        touched = sorted({pair for row in flat for pair in zip(row[::2], row[1::2], strict=True)})
        for first in range(0, len(touched), PERIODS):
            _minutes(database, touched[first : first + PERIODS], known)
        with database.write() as connection:
            sql.many(connection, "DELETE FROM rollup_queue WHERE id = ?", [(id_,) for id_, _ in notes])
    return False


def _minutes(database: Database, wanted: Sequence[Minute], known: dict[str, set[int]]) -> None:
    with database.read() as connection:
        rows = _messages(connection, database.sqlite, wanted)
    found: dict[Minute, list[bytes]] = defaultdict(list)
    for device, t, _, body in sorted(rows, key=lambda row: row[:3]):
        found[device, int(t // MINUTE_S)].append(bytes(body))
    periods = []
    for (device, minute), messages in found.items():
        joined: dict[str, Summary] = {}
        for body in messages:
            values = measurements.values(body)
            summaries.add(joined, {name: summaries.of_value(value) for name, value in values.items()})
            for sample in measurements.samples(body):
                summaries.add(joined, {sample.name: summaries.of_value(sample.value)})
        periods.append(Period(device, minute * MINUTE_S, len(messages), joined))
    hours = sorted({(period.device, period.start // HOUR_S) for period in periods})
    _make_weeks(database, MINUTES, periods, known)
    with database.write() as connection:
        _write(connection, MINUTES, periods)
        query = "INSERT INTO hour_queue (device_id, hour) VALUES (?, ?) ON CONFLICT DO NOTHING"
        sql.many(connection, query, hours)


def _messages(connection: Connection, sqlite: bool, wanted: Sequence[Minute]) -> Sequence[Any]:
    if sqlite:
        rows: Sequence[Any] = sql.run(connection, _RAW_SQLITE, (json.dumps(wanted),)).all()
        return rows
    columns = tuple(list(column) for column in zip(*wanted, strict=True))
    found: Sequence[Any] = connection.exec_driver_sql(_RAW_POSTGRESQL, columns).all()
    return found


def _hours(database: Database, end: int, known: dict[str, set[int]], go_on: Callable[[], bool]) -> bool:
    """Make the hours before hour ``end`` that are due."""
    while go_on():
        with database.read() as connection:
            query = "SELECT device_id, hour FROM hour_queue WHERE hour < ? ORDER BY hour, device_id LIMIT ?"
            due = [(device, hour) for device, hour in sql.run(connection, query, (end, PERIODS)).all()]
        if not due:
            return True
        _make_weeks(database, HOURS, [Period(d, h * HOUR_S, 0, {}) for d, h in due], known)
        with database.write() as connection:
            # The mark goes first: a minute that changes meanwhile waits for this transaction, and marks anew.
            sql.many(connection, "DELETE FROM hour_queue WHERE device_id = ? AND hour = ?", due)
            _write(connection, HOURS, [hour for d, h in due if (hour := _hour(connection, d, h)) is not None])
    return False


def _hour(connection: Connection, device: int, hour: int) -> Period | None:
    start = hour * HOUR_S
    query = (
        "SELECT messages, body FROM minutes WHERE device_id = ? AND start >= ? AND start < ? AND week = ? "
        "ORDER BY start"
    )
    rows = sql.run(connection, query, (device, start, start + HOUR_S, _week(start))).all()
    joined: dict[str, Summary] = {}
    for _, body in rows:
        summaries.add(joined, measurements.unpacked(bytes(body)))
    return Period(device, start, sum(row[0] for row in rows), joined) if rows else None


def _write(connection: Connection, table: str, periods: Iterable[Period]) -> None:
    rows = [(p.device, p.start, _week(p.start), p.messages, measurements.packed(p.found)) for p in periods]
    sql.many(connection, _WRITE.format(table=table), sorted(rows))


def _make_weeks(
    database: Database, table: str, periods: Iterable[Period], known: dict[str, set[int]]
) -> None:
    if not database.sqlite:
        partitions.make(database, table, known[table], {_week(p.start) for p in periods})


def _week(start: int) -> int:
    return int(start // WEEK_S)
