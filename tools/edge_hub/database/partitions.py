"""The days of telemetry on PostgreSQL: one partition each, made before the first row and dropped whole."""

from __future__ import annotations

from sqlalchemy import text

from edge_hub.database.engine import Database

_LOCK = 0x64617973  # "days": one worker at a time makes partitions
_PREFIX = "telemetry_day_"


def make(database: Database, known: set[int], days: set[int]) -> None:
    """Make the partitions of ``days`` that are not ``known``, and add them there."""
    missing = days - known
    if not missing:
        return
    with database.write() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        for day in sorted(missing):
            connection.execute(
                text(
                    f"CREATE TABLE IF NOT EXISTS {_PREFIX}{day} "
                    f"PARTITION OF telemetry FOR VALUES FROM ({day}) TO ({day + 1})"
                )
            )
    known |= missing


def existing(database: Database) -> list[int]:
    """Return the days that have a partition, oldest first, without day 0."""
    query = text(
        "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
        "WHERE inhparent = 'telemetry'::regclass"
    )
    with database.read() as connection:
        names = connection.scalars(query).all()
    return sorted(day for name in names if (day := int(str(name).removeprefix(_PREFIX))))


def drop(database: Database, day: int) -> None:
    """Drop a day."""
    with database.write() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(text(f"DROP TABLE IF EXISTS {_PREFIX}{int(day)}"))
