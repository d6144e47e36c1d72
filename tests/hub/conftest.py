"""A database of each kind, migrated: a file, and one on a real PostgreSQL that is started for the run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.testing.mosquitto import Mosquitto
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.testing.postgresql import PostgreSQL
from tests.hub.service import Service


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    server.start()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What --data takes: an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "hub.db")
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def database(data: str) -> Iterator[Database]:
    made = Database(data)
    migrate(made)
    yield made
    made.close()


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
