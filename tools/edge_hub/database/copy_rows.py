"""All rows of a hub's SQLite file into an empty PostgreSQL database: ``edge-hub migrate --from``.

Theory of operation. The file is read in one transaction, so it is one state of it; the rows are written in
one transaction, so they are all there or none is. Partitions of days and weeks are made before that, and are
empty if the copy fails. Numbers keep their meaning, and counters of numbers go on after the greatest. Leases
are not copied: they belong to processes. At the end the rows of each table are counted, and the audit chain
is followed from its first entry.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from sqlalchemy import Connection, Table

from edge_agent.errors import ConfigError, PlatformError
from edge_hub.database import audit, partitions, sql
from edge_hub.database.engine import Database, ValueRefusedError
from edge_hub.database.schema import leases, metadata

_PARTITIONED = {"telemetry": "day", "minutes": "week", "hours": "week"}
_ROWS = 1000
_SETUP = "setup"


def copy(source: Database, target: Database) -> dict[str, int]:
    """Copy all rows; return how many each table has.

    Raises
    ------
    ConfigError
        The source is no SQLite file or the target no PostgreSQL, a schema is not this program's, a hub runs
        over the source, or the target has rows.
    PlatformError
        A database is not there; nothing was copied.
    ValueRefusedError
        PostgreSQL can't hold a value; nothing was copied.
    """
    if not source.sqlite or target.sqlite:
        raise ConfigError("--from: found something else, expected a SQLite file, and --data postgresql://…")
    source.check()
    target.check()
    tables = [table for table in metadata.sorted_tables if table is not leases]
    with source.read() as reader:
        _refuse_running(reader, source)
        for name, column in _PARTITIONED.items():
            numbers = {int(row[0]) for row in sql.run(reader, f"SELECT DISTINCT {column} FROM {name}")}  # noqa: S608 - the schema's  # nosec B608
            partitions.make(target, name, {0} if name == "telemetry" else set(), numbers)
        with target.write() as writer:
            _refuse_rows(writer, target, tables)
            counts = {table.name: _copy_table(reader, writer, table) for table in tables}
            for table in tables:
                _set_counter(writer, table)
    found = audit.verify(target)
    if found["broken"]:
        raise ConfigError(f"{source.name}: audit: entry {found['broken']} does not follow the one before it")
    return counts


def _refuse_running(reader: Connection, source: Database) -> None:
    query = "SELECT name FROM leases WHERE expires > ? ORDER BY name LIMIT 1"
    name = sql.one(reader, query, (time.time(),))
    if name is not None:
        raise ConfigError(
            f"--from {source.name}: a hub runs over it, or was killed within the last minutes (lease {name})"
        )


def _refuse_rows(writer: Connection, target: Database, tables: list[Table]) -> None:
    for table in tables:
        kept = f"WHERE key <> '{_SETUP}'" if table.name == "settings" else ""
        count = int(sql.one(writer, f"SELECT count(*) FROM {table.name} {kept}"))  # noqa: S608 - no input  # nosec B608
        if count:
            raise ConfigError(f"--data {target.name}: {table.name}: found {count} rows, expected none")
    sql.run(writer, "DELETE FROM settings")


def _copy_table(reader: Connection, writer: Connection, table: Table) -> int:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    found = reader.exec_driver_sql(f'SELECT {columns} FROM "{table.name}"')  # noqa: S608 - no input  # nosec B608
    driver: Any = writer.connection.driver_connection
    count = 0
    try:
        with driver.cursor() as cursor, cursor.copy(f'COPY "{table.name}" ({columns}) FROM STDIN') as out:
            for part in found.partitions(_ROWS):
                count += len(part)
                for row in part:
                    out.write_row(row)
    except psycopg.DataError as error:
        raise ValueRefusedError(f"{table.name}: {str(error).splitlines()[0]}") from error
    except psycopg.Error as error:
        raise PlatformError(f"{table.name}: {str(error).splitlines()[0]}") from error
    there = int(sql.one(writer, f'SELECT count(*) FROM "{table.name}"'))  # noqa: S608 - no input  # nosec B608
    if there != count:
        raise ConfigError(f"{table.name}: found {there} rows after {count} were copied")
    return count


def _set_counter(writer: Connection, table: Table) -> None:
    """Let a table's numbers go on after the greatest."""
    if "id" not in table.columns:
        return
    sequence = sql.one(writer, "SELECT pg_get_serial_sequence(?, 'id')", (table.name,))
    if sequence is not None:
        query = f'SELECT setval(?, greatest((SELECT max(id) FROM "{table.name}"), 1))'  # noqa: S608 - no input  # nosec B608
        sql.run(writer, query, (sequence,))
