"""Which changes of the database viewers are told: each once, from whatever process, and none twice."""

from __future__ import annotations

import asyncio
from typing import Any

from edge_agent.testing.clock import ManualClock
from edge_hub.api import feed
from edge_hub.api.broadcast import Broadcast
from edge_hub.api.hub import Hub
from edge_hub.database import bundles
from edge_hub.database.engine import Database
from edge_hub.jobs.changes import OVERLAP_S, POLL_S, Changes

NOW = 1.7e9


def upload(database: Database, digest: str, at: float) -> None:
    row = {"digest": digest, "name": "b", "version": "1", "kind": "pomdp", "size": 1, "signer": ""}
    with database.write() as connection:
        bundles.add(connection, row | {"manifest": {}, "uploaded": at, "uploaded_by": "ann"}, b"")


def digests(changes: Changes) -> list[Any]:
    return [row["digest"] for kind, row in changes.poll() if kind == "bundle"]


def test_what_was_there_is_not_told_and_what_comes_is_told_once(database: Database) -> None:
    clock = ManualClock()
    upload(database, "a", NOW)
    changes = Changes(database, clock.monotonic)
    assert digests(changes) == []
    upload(database, "b", NOW + 1)
    assert digests(changes) == ["b"]
    assert digests(changes) == []


def test_a_change_by_a_clock_that_is_behind_is_told(database: Database) -> None:
    clock = ManualClock()
    changes = Changes(database, clock.monotonic)
    digests(changes)
    for number in range(10):
        upload(database, f"ahead-{number}", NOW + clock.monotonic())
        upload(database, f"behind-{number}", NOW + clock.monotonic() - (OVERLAP_S - 2 * POLL_S))
        assert sorted(digests(changes)) == [f"ahead-{number}", f"behind-{number}"]
        clock.advance(POLL_S)


def test_rows_that_changed_long_ago_are_not_read_at_every_poll(database: Database, monkeypatch: Any) -> None:
    clock = ManualClock()
    changes = Changes(database, clock.monotonic)
    digests(changes)
    for number in range(5):
        upload(database, str(number), NOW)
    assert len(digests(changes)) == 5
    clock.advance(OVERLAP_S)
    digests(changes)
    assert changes._bundles._seen == {}
    upload(database, "late", NOW + 60)
    assert digests(changes) == ["late"]


class AskedRing(Broadcast):
    """Counts how often it was asked for its viewers."""

    asked = 0
    _viewers = 0

    @property
    def viewers(self) -> int:  # type: ignore[override]
        self.asked += 1
        return self._viewers

    @viewers.setter
    def viewers(self, number: int) -> None:
        self._viewers = number


def test_the_first_to_watch_again_is_told_to_load_all(database: Database, monkeypatch: Any) -> None:
    monkeypatch.setattr(feed, "POLL_S", 0.01)
    ring = AskedRing()
    hub = Hub(database, broadcast=ring)

    async def until(condition: Any) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0)

    async def watch() -> list[str]:
        task = asyncio.create_task(feed.tell_changes(hub))
        ring.viewers = 1
        await until(lambda: ring._ring)
        ring.viewers = 0
        before = ring.asked
        await until(lambda: ring.asked >= before + 2)
        await hub.run(upload, database, "a", NOW)
        ring.viewers = 1
        await until(lambda: len(ring._ring) == 2)
        await hub.run(upload, database, "b", NOW + 1)
        await until(lambda: len(ring._ring) == 3)
        task.cancel()
        return [event.kind for event in ring._ring]

    assert asyncio.run(watch()) == ["resync", "resync", "bundle"]
    hub.pool.shutdown()
