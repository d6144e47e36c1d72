"""Rows of ``telemetry``, written in each database's fastest way.

Theory of operation. SQLite takes several rows per statement, PostgreSQL all rows as one array per column
(`edge_hub.database.binary_arrays`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from edge_hub.domain.days import UNSET

Columns = list[Any]
"""Row by row: outbox's number, device's number, seq, stamp, day, t, received, historical, rss, payload."""

_COLUMNS = "outbox_id, device_id, seq, stamp, day, t, received, historical, rss, body"
WIDTH = 10
_TOGETHER = (200, 20, 1)
"""Rows of one statement of SQLite's: a statement for each row takes nearly twice as long."""


def _insert(rows: int) -> str:
    marks = ", ".join(["(" + ", ".join("?" * WIDTH) + ")"] * rows)
    return f"INSERT OR IGNORE INTO telemetry ({_COLUMNS}) VALUES {marks}"  # noqa: S608 - no input


_STATEMENTS = [(rows * WIDTH, _insert(rows)) for rows in _TOGETHER]
# A partition's index knows no other day: a message that was far off by the hub's clock before that was set,
# and came again after it, is looked for where it would be. An array of numbers has no place for NULL: 0 is.
# Every worker writes in one order, so that none waits for another that waits for it.
_NEW = (
    "INSERT INTO telemetry ({columns}) "
    "SELECT outbox_id, device_id, seq, stamp, day, t, received, historical, nullif(rss, 0), body "
    "FROM unnest(%b::int[], %b::int[], %b::bigint[], %b::bigint[], "
    "%b::int[], %b::float8[], %b::float8[], %b::bool[], %b::bigint[], %b::bytea[]) "
    "AS new ({columns}) "
    "WHERE NOT EXISTS (SELECT 1 FROM telemetry_day_{unset} AS old WHERE {same}) "
    "AND (new.day <> {unset} OR NOT EXISTS (SELECT 1 FROM telemetry AS old WHERE {same})) "
    "ORDER BY new.outbox_id, new.seq, new.stamp "
    "ON CONFLICT DO NOTHING"
)
_POSTGRESQL = _NEW.format(
    columns=_COLUMNS,
    unset=UNSET,
    same="old.outbox_id = new.outbox_id AND old.seq = new.seq AND old.stamp = new.stamp",
)
_CODES = "iiqqiddbqy"
"""The columns' values, as `binary_arrays.run` calls them."""
_RSS = 8


def insert(connection: Connection, columns: Columns) -> None:
    """Write rows; those whose key is there already fall away.

    Raises
    ------
    ValueRefusedError
        A number is past what the database holds.
    """
    if connection.dialect.name == "sqlite":
        first = 0
        for size, statement in _STATEMENTS:
            while first + size <= len(columns):
                connection.exec_driver_sql(statement, tuple(columns[first : first + size]))
                first += size
        return
    from edge_hub.database import binary_arrays  # psycopg: not where the database is SQLite

    found = [columns[place::WIDTH] for place in range(WIDTH)]
    found[_RSS] = [rss or 0 for rss in found[_RSS]]
    binary_arrays.run(connection, _POSTGRESQL, _CODES, found)
