"""What a process that ingests leaves to Python's collector of cycles."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from edge_agent.errors import PlatformError
from edge_agent.testing.free_ports import free_port
from edge_hub.broker import Broker
from edge_hub.database.engine import Database
from edge_hub.ingest import process
from edge_hub.testing.postgresql import PostgreSQL

FAILURES = 50
OF_A_FAILURE = 50
"""Objects at least; 100 were seen."""


@pytest.fixture
def turns() -> Iterator[list[int]]:
    """How many objects each full turn of the collector freed; thresholds are left as they were."""
    found: list[int] = []

    def called(phase: str, about: dict[str, Any]) -> None:
        if phase == "stop" and about["generation"] == 2:
            found.append(about["collected"])

    before = gc.get_threshold()
    gc.callbacks.append(called)
    yield found
    gc.callbacks.remove(called)
    gc.set_threshold(*before)


async def one_turn() -> None:
    """Let the collector run once."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await process.collect_cycles()


def test_what_a_database_that_is_away_leaves_is_freed(turns: list[int]) -> None:
    process.set_up_collector()
    server = PostgreSQL(durable=False)
    server.start()
    try:
        with Database(server.new_database()) as database:
            assert not database.revision()
            asyncio.run(one_turn())
            server.stop(signal.SIGQUIT)
            for _ in range(FAILURES):
                with pytest.raises(PlatformError):
                    database.revision()
            turns.clear()
            asyncio.run(one_turn())
            assert sum(turns) > FAILURES * OF_A_FAILURE
    finally:
        server.remove()


def test_a_worker_lets_the_collector_run_regularly(
    database: Database, turns: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "COLLECT_S", 0.02)
    process.run(database, Broker("127.0.0.1", free_port()), "lab", "", 1.0)
    assert len(turns) > 2
