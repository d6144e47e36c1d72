"""What PostgreSQL keeps by time: a partition per day or week, made before the first row and dropped whole."""

from __future__ import annotations

from sqlalchemy import text

from edge_hub.database.engine import Database

TELEMETRY = "telemetry"
_LOCK = 0x64617973  # "days": one worker at a time makes partitions
_PREFIXES = {TELEMETRY: "telemetry_day_", "minutes": "minutes_week_", "hours": "hours_week_"}


def make(database: Database, table: str, known: set[int], wanted: set[int]) -> None:
    """Make the partitions ``wanted`` of a table that are not ``known``, and add them there."""
    missing = wanted - known
    if not missing:
        return
    with database.write() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        for number in sorted(missing):
            connection.execute(
                text(
                    f"CREATE TABLE IF NOT EXISTS {_PREFIXES[table]}{number} "
                    f"PARTITION OF {table} FOR VALUES FROM ({number}) TO ({number + 1})"
                )
            )
    known |= missing


def existing(database: Database, table: str) -> list[int]:
    """Return the days or weeks of a table that have a partition, oldest first, without number 0."""
    query = text(
        "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
        "WHERE inhparent = to_regclass(:table)"
    )
    with database.read() as connection:
        names = connection.scalars(query, {"table": table}).all()
    prefix = _PREFIXES[table]
    return sorted(number for name in names if (number := int(str(name).removeprefix(prefix))))


def drop(database: Database, table: str, number: int) -> None:
    """Drop a day or week of a table."""
    with database.write() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(text(f"DROP TABLE IF EXISTS {_PREFIXES[table]}{int(number)}"))


def size(database: Database, table: str) -> int:
    """Return the bytes on disk of a table with its indexes, all partitions together."""
    query = text(
        "SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0) FROM pg_inherits "
        "WHERE inhparent = to_regclass(:table)"
    )
    with database.read() as connection:
        return int(connection.execute(query, {"table": table}).scalar_one())
