"""Rows of ``telemetry``, written in each database's fastest way.

Theory of operation. SQLite takes several rows per statement, PostgreSQL all rows as one array per column
(`edge_hub.database.binary_arrays`).
"""

from __future__ import annotations

import itertools

from sqlalchemy import Connection

from edge_hub.database import sql
from edge_hub.domain.days import UNSET

Row = tuple[int, int, int, int, int, float, float, bool, int | None, bytes]
"""Outbox's number, seq, stamp, day, device's number, t, received, historical, rss, payload."""

_COLUMNS = "outbox_id, seq, stamp, day, device_id, t, received, historical, rss, body"
_WIDTH = 10
_TOGETHER = 50
"""Rows of one statement of SQLite's: a statement for each row takes a third longer."""


def _insert(rows: int) -> str:
    marks = ", ".join(["(" + ", ".join("?" * _WIDTH) + ")"] * rows)
    return f"INSERT OR IGNORE INTO telemetry ({_COLUMNS}) VALUES {marks}"  # noqa: S608 - no input


_ONE, _MANY = _insert(1), _insert(_TOGETHER)
# A partition's index knows no other day: a message that was far off by the hub's clock before that was set,
# and came again after it, is looked for where it would be. An array of numbers has no place for NULL: 0 is.
_NEW = (
    "INSERT INTO telemetry ({columns}) "
    "SELECT outbox_id, seq, stamp, day, device_id, t, received, historical, nullif(rss, 0), body "
    "FROM unnest(%b::int[], %b::bigint[], %b::bigint[], "
    "%b::int[], %b::int[], %b::float8[], %b::float8[], %b::bool[], %b::bigint[], %b::bytea[]) "
    "AS new ({columns}) "
    "WHERE NOT EXISTS (SELECT 1 FROM telemetry_day_{unset} AS old WHERE {same}) "
    "AND (new.day <> {unset} OR NOT EXISTS (SELECT 1 FROM telemetry AS old WHERE {same})) "
    "ON CONFLICT DO NOTHING"
)
_POSTGRESQL = _NEW.format(
    columns=_COLUMNS,
    unset=UNSET,
    same="old.outbox_id = new.outbox_id AND old.seq = new.seq AND old.stamp = new.stamp",
)
_CODES = "iqqiiddb"
"""How `struct` calls the values of the columns up to ``historical``."""


def insert(connection: Connection, rows: list[Row]) -> None:
    """Write rows; those whose key is there already fall away.

    Raises
    ------
    ValueRefusedError
        A number is past what the database holds.
    """
    if connection.dialect.name == "sqlite":
        whole = len(rows) - len(rows) % _TOGETHER
        for first in range(0, whole, _TOGETHER):
            part = itertools.chain.from_iterable(rows[first : first + _TOGETHER])
            connection.exec_driver_sql(_MANY, tuple(part))
        sql.many(connection, _ONE, rows[whole:])
        return
    from edge_hub.database import binary_arrays  # psycopg: not where the database is SQLite

    binary_arrays.register(connection)
    rows.sort(key=lambda row: row[:3])  # one order in every worker: no deadlocks
    *numbers, memory, bodies = zip(*rows, strict=True)
    arrays = [binary_arrays.of_numbers(code, column) for code, column in zip(_CODES, numbers, strict=True)]
    arrays.append(binary_arrays.of_numbers("q", [rss or 0 for rss in memory]))
    arrays.append(binary_arrays.of_bytes(bodies))
    connection.exec_driver_sql(_POSTGRESQL, tuple(arrays))
