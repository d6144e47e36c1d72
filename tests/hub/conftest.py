"""A database of each kind, migrated: a file, and one on a real PostgreSQL that is started for the run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from edge_agent.testing.mosquitto import Mosquitto
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.testing.postgresql import PostgreSQL
from tests.hub.service import Service

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid != pg_backend_pid()"
)
"""Ends the connections of what a test left behind, whose locks would be waited for."""
UNBOUND = "SET LOCAL session_replication_role = replica"
"""Lets tables be emptied in any order; TRUNCATE makes new files of each, which takes 0.2 s."""
RESTARTED = "SELECT setval(seqrelid::regclass, 1, false) FROM pg_sequence"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL(durable=False)
    server.start()
    yield server
    server.remove()


class Migrated:
    """A migrated database on PostgreSQL, emptied after each test: a new one takes most of a second."""

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server
        self._address = ""
        self._tables: set[str] = set()

    def take(self) -> str:
        """Return the address of one that is empty."""
        if not self._address:
            self._address = self._server.new_database()
            with Database(self._address) as database:
                migrate(database)
                self._tables = self._found(database)
        return self._address

    def give_back(self) -> None:
        """Empty it, or drop it if the test made tables."""
        with Database(self._address) as database:
            with database.write() as connection:
                connection.execute(sa.text(OTHERS))
            if same := self._found(database) == self._tables:
                rows = sorted(self._tables - {"alembic_version"})
                with database.write() as connection:
                    connection.execute(
                        sa.text(";".join([UNBOUND, *(f'DELETE FROM "{name}"' for name in rows)]))
                    )
                    connection.execute(sa.text(RESTARTED))
        if not same:
            self._server.drop(self._address)
            self._address = ""

    @staticmethod
    def _found(database: Database) -> set[str]:
        with database.read() as connection:
            return set(connection.scalars(sa.text(TABLES)))


@pytest.fixture(scope="session")
def migrated(postgresql: PostgreSQL) -> Migrated:
    return Migrated(postgresql)


@pytest.fixture(params=["sqlite", "postgresql"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """What --data takes: an empty database, with ``database`` one that is migrated."""
    if request.param == "sqlite":
        yield str(tmp_path / "hub.db")
    elif "database" in request.fixturenames:
        kept: Migrated = request.getfixturevalue("migrated")
        yield kept.take()
        kept.give_back()
    else:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        address = server.new_database()
        yield address
        server.drop(address)


@pytest.fixture
def database(request: pytest.FixtureRequest, data: str) -> Iterator[Database]:
    with Database(data) as opened:
        if "migrated" not in request.fixturenames:
            migrate(opened)
        yield opened


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    lines = (
        "allow_anonymous true",
        "max_inflight_messages 2000",
        "max_queued_messages 0",
        "max_queued_bytes 0",
    )
    broker = Mosquitto(tmp_path, lines)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def service(database: Database) -> Iterator[Service]:
    made = Service(database)
    yield made
    made.close()
