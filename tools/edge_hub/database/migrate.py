"""Bringing a database's schema to this program's. Alembic is loaded here alone.

A file that ``edge-hub ingest FILE`` wrote before there was a schema is taken over with all it holds.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

from edge_agent.errors import ConfigError
from edge_hub.database.engine import Database
from edge_hub.database.schema import HEAD

_LOCK = 0x65646765  # "edge": one migration at a time on PostgreSQL


def migrate(database: Database, revision: str = HEAD) -> tuple[str, str]:
    """Bring the schema up to ``revision`` in one transaction; return it before and after.

    Raises
    ------
    ConfigError
        The database is newer than this program.
    """
    before = database.revision()
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    if before and before > HEAD:
        raise ConfigError(f"--data {database.name}: schema is {before}, this program knows {HEAD}")
    with database.write() as connection:
        if not database.sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return before, database.revision()
