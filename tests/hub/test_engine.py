"""Connections to PostgreSQL that the server ended."""

import pytest

from edge_agent.errors import PlatformError
from edge_hub.database import engine, sql
from edge_hub.database.engine import Database
from edge_hub.testing.postgresql import PostgreSQL

END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ? AND pid <> pg_backend_pid()"
)


def ended(server: PostgreSQL) -> Database:
    """Return a database whose idle connection the server has ended."""
    data = server.new_database()
    database = Database(data)
    assert sql_one(database) == 1
    with Database(data) as other, other.write() as connection:
        assert sql.one(connection, END_OTHERS, (other.url.database,))
    return database


def sql_one(database: Database) -> int:
    with database.read() as connection:
        return int(sql.one(connection, "SELECT 1"))


def test_a_connection_that_was_idle_is_tried_and_replaced(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TRIED_AFTER_S", 0.0)
    with ended(postgresql) as database:
        assert sql_one(database) == 1


def test_one_that_was_just_used_fails_once(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "TRIED_AFTER_S", 60.0)
    with ended(postgresql) as database:
        with pytest.raises(PlatformError):
            sql_one(database)
        assert sql_one(database) == 1
