"""The outbox's file under a disk that fails: a reason, or a new file; never the device's end."""

from __future__ import annotations

import queue
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.adapters.outbox_sqlite import SqliteOutboxStore
from edge_agent.protocol.outbox_store import Batch, OutboxEntry, Written

LARGE = 200
"""Entries of 4 KB: more than SQLite keeps in memory, so that reading goes to the disk."""


class Box:
    """A store, and its results in order."""

    def __init__(self, path: Path) -> None:
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.store = SqliteOutboxStore(path, lambda: self._woken.put(None))

    def write(self, *numbers: int) -> Written:
        return self.carry_out(Batch(append=tuple(OutboxEntry(n, 0.0, 1, bytes(4096)) for n in numbers)))

    def carry_out(self, batch: Batch) -> Written:
        self.store.write(batch)
        self._woken.get(timeout=60.0)
        found = self.store.written()
        assert found is not None
        return found


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path / "outbox.db")
    assert made.write(*range(1, LARGE + 1)) == Written()
    yield made
    made.store.close()


def damage(folder: Path) -> None:
    for name, start in (("outbox.db", 4096), ("outbox.db-wal", 64)):
        path = folder / name
        with path.open("r+b") as file:
            file.seek(start)
            file.write(b"\xff" * max(0, path.stat().st_size - start))


def test_a_file_that_is_found_damaged_by_reading_is_set_aside(box: Box, tmp_path: Path) -> None:
    name = box.store.contents().name
    damage(tmp_path)
    assert list(box.store.read(1, LARGE, LARGE)) == []
    assert box.store.damaged == 1
    assert (tmp_path / "outbox.db.damaged").exists()
    assert "set aside" in box.write(1).failed  # was on its way to the old file
    assert box.write(1) == Written()
    assert (box.store.contents().name != name, box.store.contents().entries) == (True, 1)


def test_a_file_that_is_found_damaged_by_writing_is_set_aside(box: Box, tmp_path: Path) -> None:
    damage(tmp_path)
    assert "set aside" in box.carry_out(Batch(remove=((1, LARGE),))).failed
    assert box.write(7) == Written()
    assert (box.store.damaged, [entry.seq for entry in box.store.read(1, LARGE, LARGE)]) == (1, [7])


def test_a_disk_without_room_is_a_reason_and_the_file_stays_as_it_was(box: Box) -> None:
    before = box.store.contents()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        failed = box.write(LARGE + 1).failed
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failed
    assert (box.store.contents(), box.store.damaged) == (before, 0)
    assert box.write(LARGE + 1) == Written()
