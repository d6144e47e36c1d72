"""What is too old goes: a day's partition at once on PostgreSQL, a few rows at a time on SQLite.

Theory of operation. SQLite has one writer, so a long delete would hold ingest up: each step deletes at most
`STEP` rows, the first that were stored, in a transaction of its own.
"""

from __future__ import annotations

from edge_hub.database import partitions, sql
from edge_hub.database.engine import Database
from edge_hub.domain.days import DAY_S, UNSET

STEP = 500
REJECTED_KEPT = 10_000


def telemetry(database: Database, before: float) -> int:
    """Delete telemetry from before Unix time ``before``; return rows deleted, or days on PostgreSQL."""
    if database.sqlite:
        return _oldest_rows(database, before)
    days = [day for day in partitions.existing(database) if day != UNSET and (day + 1) * DAY_S <= before]
    for day in days:
        partitions.drop(database, day)
    with database.write() as connection:
        sql.run(connection, "DELETE FROM telemetry WHERE day = ? AND received < ?", (UNSET, before))
    return len(days)


def rejected(database: Database, before: float) -> None:
    """Delete what was put aside before Unix time ``before``, and all but the newest `REJECTED_KEPT`."""
    with database.write() as connection:
        last = sql.one(connection, "SELECT max(id) FROM rejected") or 0
        sql.run(
            connection, "DELETE FROM rejected WHERE received < ? OR id <= ?", (before, last - REJECTED_KEPT)
        )


def _oldest_rows(database: Database, before: float) -> int:
    total = 0
    while True:
        with database.write() as connection:
            query = "SELECT rowid, received FROM telemetry ORDER BY rowid LIMIT ?"
            rows = sql.run(connection, query, (STEP,)).all()
            old = [rowid for rowid, received in rows if received < before]
            if old:
                sql.run(
                    connection,
                    "DELETE FROM telemetry WHERE rowid BETWEEN ? AND ? AND received < ?",
                    (old[0], old[-1], before),
                )
        total += len(old)
        if len(old) < STEP:
            return total
