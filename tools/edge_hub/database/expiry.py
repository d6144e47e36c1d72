"""What is too old or too much goes: a partition at once on PostgreSQL, a few rows at a time on SQLite.

Theory of operation. SQLite has one writer, so a long delete would hold ingest up: each step deletes at most
`STEP` rows, the first that were stored, in a transaction of its own. Telemetry goes after it was rolled up
(`edge_hub.jobs.maintenance`); roll-ups have an age of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_hub.database import partitions, rollups, sql
from edge_hub.database.engine import Database
from edge_hub.database.partitions import TELEMETRY
from edge_hub.domain.days import DAY_S, UNSET, WEEK_S

STEP = 500
REJECTED_KEPT = 10_000
_OLDEST = (
    "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE start < ? ORDER BY start LIMIT ?)"
)


def telemetry(database: Database, before: float) -> int:
    """Delete telemetry from before Unix time ``before``; return rows deleted, or days on PostgreSQL."""
    if database.sqlite:
        return _oldest_rows(database, before, lambda: True)
    days = [day for day in partitions.existing(database, TELEMETRY) if (day + 1) * DAY_S <= before]
    for day in days:
        partitions.drop(database, TELEMETRY, day)
    with database.write() as connection:
        sql.run(connection, "DELETE FROM telemetry WHERE day = ? AND received < ?", (UNSET, before))
    return len(days)


def telemetry_over(database: Database, limit: int, before: float) -> int:
    """Delete the oldest telemetry while there is more than ``limit`` bytes; return rows or days deleted.

    Parameters
    ----------
    database : Database
        Of what.
    limit : int
        Bytes; on SQLite of the whole file without its free pages, on PostgreSQL of telemetry.
    before : float
        Unix seconds; what arrived later stays, on PostgreSQL its whole day.
    """
    if database.sqlite:
        return _oldest_rows(database, before, lambda: used(database) > limit)
    days = [day for day in partitions.existing(database, TELEMETRY) if (day + 1) * DAY_S <= before]
    dropped = 0
    while dropped < len(days) and used(database) > limit:
        partitions.drop(database, TELEMETRY, days[dropped])
        dropped += 1
    return dropped


def used(database: Database) -> int:
    """Return the bytes that `telemetry_over` compares with its limit."""
    if not database.sqlite:
        return partitions.size(database, TELEMETRY)
    with database.read() as connection:
        names = ("page_count", "freelist_count", "page_size")
        pages, free, size = (int(sql.one(connection, f"PRAGMA {name}")) for name in names)
    return (pages - free) * size


def rolled_up(database: Database, before: float) -> None:
    """Delete minutes and hours from before Unix time ``before``."""
    for table in (rollups.MINUTES, rollups.HOURS):
        if database.sqlite:
            _oldest_periods(database, table, before)
            continue
        for week in partitions.existing(database, table):
            if (week + 1) * WEEK_S <= before:
                partitions.drop(database, table, week)


def rejected(database: Database, before: float) -> None:
    """Delete what was put aside before Unix time ``before``, and all but the newest `REJECTED_KEPT`."""
    with database.write() as connection:
        last = sql.one(connection, "SELECT max(id) FROM rejected") or 0
        sql.run(
            connection, "DELETE FROM rejected WHERE received < ? OR id <= ?", (before, last - REJECTED_KEPT)
        )


def learned(database: Database, before: float, numbers_before: float) -> None:
    """Delete contributions from before Unix time ``before``, and numbers of their messages."""
    with database.write() as connection:
        sql.run(
            connection,
            "DELETE FROM increments WHERE contribution_id IN "
            "(SELECT id FROM contributions WHERE received < ?)",
            (before,),
        )
        sql.run(connection, "DELETE FROM contributions WHERE received < ?", (before,))
        sql.run(connection, "DELETE FROM learned_numbers WHERE received < ?", (numbers_before,))


def _oldest_rows(database: Database, before: float, go_on: Callable[[], bool]) -> int:
    total = 0
    while go_on():
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
            break
    return total


def _oldest_periods(database: Database, table: str, before: float) -> None:
    while True:
        with database.write() as connection:
            if sql.run(connection, _OLDEST.format(table=table), (before, STEP)).rowcount < STEP:
                return
