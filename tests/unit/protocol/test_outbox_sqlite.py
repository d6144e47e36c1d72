import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.adapters.outbox_sqlite import SqliteOutboxStore
from edge_agent.errors import PlatformError
from edge_agent.protocol.outbox_store import Batch, OutboxEntry, Written


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., SqliteOutboxStore]]:
    stores: list[SqliteOutboxStore] = []

    def make(path: Path = tmp_path / "outbox.db") -> SqliteOutboxStore:
        stores.append(SqliteOutboxStore(path, _news.set))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


_news = threading.Event()


def commit(store: SqliteOutboxStore, batch: Batch) -> Written:
    store.write(batch)
    while (result := store.written()) is None:
        assert _news.wait(10)
        _news.clear()
    return result


def entries(first: int, last: int, priority: int = 1) -> tuple[OutboxEntry, ...]:
    return tuple(
        OutboxEntry(n, float(n), priority, b"x" * 100 + str(n).encode()) for n in range(first, last + 1)
    )


def test_entries_numbers_and_name_survive_a_restart(opened) -> None:
    store = opened()
    assert commit(store, Batch(append=entries(1, 50))) == Written()
    assert commit(store, Batch(remove=((1, 50),))) == Written()
    again = opened()
    assert again.contents().name == store.contents().name
    assert (again.contents().last, again.contents().entries) == (50, 0)


def test_reading_is_by_range_and_bounded(opened) -> None:
    store = opened()
    commit(store, Batch(append=entries(1, 100)))
    assert [e.seq for e in store.read(10, 20, 5)] == [10, 11, 12, 13, 14]
    assert store.read(10, 10, 5)[0] == entries(10, 10)[0]
    assert store.oldest(2, None) == [(1, 101), (2, 101)]
    assert store.oldest(200, 3.0) == [(1, 101), (2, 101)]


def test_skipped_ranges_grow_together_and_are_forgotten_when_reported(opened) -> None:
    store = opened()
    commit(store, Batch(append=entries(1, 10), skipped=((1, 1), (3, 3), (7, 7))))
    commit(store, Batch(skipped=((2, 2),)))
    assert store.skipped(10) == [(1, 3), (7, 7)]
    commit(store, Batch(reported=((1, 3),)))
    assert store.skipped(10) == [(7, 7)]


@pytest.mark.parametrize("where", [0, 100, 4096])
def test_a_damaged_file_is_set_aside_and_counted(opened, tmp_path: Path, where: int) -> None:
    store = SqliteOutboxStore(tmp_path / "outbox.db", _news.set)
    for n in range(40):
        commit(store, Batch(append=entries(n * 10 + 1, n * 10 + 10)))
    name = store.contents().name
    store.close()
    with (tmp_path / "outbox.db").open("r+b") as file:
        file.seek(where)
        file.write(os.urandom(3000))
    again = opened()
    assert again.damaged == 1
    assert (tmp_path / "outbox.db.damaged").exists()
    assert again.contents().name != name
    assert commit(again, Batch(append=entries(1, 1))) == Written()


def test_a_power_cut_at_any_byte_of_the_log_leaves_a_prefix(tmp_path: Path, opened) -> None:
    store = opened()
    for n in range(1, 21):
        commit(store, Batch(append=entries(n, n)))
    data = (tmp_path / "outbox.db-wal").read_bytes()
    found = []
    for number, length in enumerate([*range(0, len(data), len(data) // 40), len(data)]):
        folder = tmp_path / f"cut{number}"
        folder.mkdir()
        shutil.copy(tmp_path / "outbox.db", folder)
        (folder / "outbox.db-wal").write_bytes(data[:length])
        again = opened(folder / "outbox.db")
        contents = again.contents()
        assert [e.seq for e in again.read(1, 100, 100)] == list(range(1, contents.last + 1))
        assert again.damaged == 0
        found.append(contents.last)
    assert found == sorted(found)
    assert found[-1] == 20


def test_no_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"missing/outbox\.db: unable to open"):
        SqliteOutboxStore(tmp_path / "missing" / "outbox.db", _news.set)


_WRITER = """
import sys, threading
from pathlib import Path
from edge_agent.adapters.outbox_sqlite import SqliteOutboxStore
from edge_agent.protocol.outbox_store import Batch, OutboxEntry
news = threading.Event()
store = SqliteOutboxStore(Path(sys.argv[1]), news.set)
seq = store.contents().last
while True:
    store.write(Batch(append=tuple(OutboxEntry(seq + i, 0.0, 1, bytes(200)) for i in range(1, 11))))
    while store.written() is None:
        news.wait()
        news.clear()
    seq += 10
    print(seq, flush=True)
"""


def test_what_was_reported_written_is_there_after_sigkill(tmp_path: Path, opened) -> None:
    path = tmp_path / "outbox.db"
    last = 0
    for round_ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(3 + 4 * round_):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            last = max([last, *(int(line) for line in process.stdout.read().split("\n")[:-1] if line)])
        contents = opened().contents()
        assert contents.last >= last
        assert contents.entries == contents.last
