"""The outbox's store in SQLite. A separate thread writes it, so that an fsync never delays a tick.

Theory of operation. Write-ahead logging with ``synchronous=FULL``: a committed transaction is on the disk,
and an interrupted one leaves nothing. The thread has the only writing connection; reads use another
connection on the caller's thread. ``meta`` stores the outbox's name and the highest number used, in the same
transaction as the entries. A file that SQLite reports as damaged, at start or later, is renamed to
``NAME.damaged`` (one is kept) and counted, and a new outbox with a new name begins: telemetry can be lost
with a damaged disk, but the device keeps running.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_agent.adapters.process import user_name
from edge_agent.errors import PlatformError
from edge_agent.protocol.outbox_store import Batch, Contents, OutboxEntry, Range, Written

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (
    one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY, t REAL NOT NULL, priority INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS skipped (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
"""
_FILES = ("", "-wal", "-shm")


class SqliteOutboxStore:
    """A `protocol.outbox_store.Store` in one file.

    Parameters
    ----------
    path : Path
        The database; its folder must exist.
    wake : callable
        Called from the writing thread when a transaction ended.

    Raises
    ------
    PlatformError
        The file can't be made or opened: no folder, no right, a full disk.
    """

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        self.damaged = 0
        self._path = path
        self._wake = wake
        self._jobs: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Written] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._reader, self._generation = self._open()
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    def contents(self) -> Contents:
        """Return what is there."""
        name, last = self._query("SELECT name, last FROM meta")[0]
        entries, size = self._query("SELECT count(*), coalesce(sum(length(data)), 0) FROM entries")[0]
        return Contents(name, last, entries, size)

    def write(self, batch: Batch) -> None:
        """Begin a transaction."""
        self._jobs.put(batch)

    def written(self) -> Written | None:
        """Return how it ended, once."""
        try:
            return self._results.get_nowait()
        except queue.Empty:
            return None

    def read(self, first: int, last: int, limit: int) -> Sequence[OutboxEntry]:
        """Return durable entries, ascending."""
        text = "SELECT seq, t, priority, data FROM entries WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
        return [OutboxEntry(*row) for row in self._query(text, first, last, limit)]

    def oldest(self, limit: int, before: float | None) -> Sequence[Range]:
        """Return (number, bytes) of the oldest entries that may be given up."""
        if before is not None:
            text = "SELECT seq, length(data) FROM entries WHERE priority > 0 AND t < ? ORDER BY seq LIMIT ?"
            return self._query(text, before, limit)
        text = (
            "SELECT seq, length(data) FROM entries WHERE priority > 0 "
            "AND priority = (SELECT max(priority) FROM entries) ORDER BY seq LIMIT ?"
        )
        return self._query(text, limit)

    def skipped(self, limit: int) -> Sequence[Range]:
        """Return ranges that were thinned out and not reported yet."""
        return self._query("SELECT first, last FROM skipped ORDER BY first LIMIT ?", limit)

    def close(self) -> None:
        """Finish what was begun, and close the file."""
        self._jobs.put(None)
        self._thread.join()
        self._reader.close()

    def _query(self, text: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        if self._generation != self.damaged:
            self._reader.close()
            self._reader, self._generation = self._open()
        try:
            return self._reader.execute(text, values).fetchall()
        except sqlite3.OperationalError as error:
            raise PlatformError(f"{self._path}: {error}") from error
        except sqlite3.DatabaseError:
            # Damaged under our feet: begin anew; the writer finds the new file with its next transaction.
            self._set_aside(self._generation)
            return self._query(text, *values)

    def _open(self) -> tuple[sqlite3.Connection, int]:
        for _ in range(3):
            connection, generation = None, self.damaged
            try:
                connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA cache_size=-128")
                connection.execute("PRAGMA mmap_size=0")
                connection.execute("PRAGMA wal_autocheckpoint=500")
                connection.execute("PRAGMA journal_size_limit=4194304")
                connection.executescript(_SCHEMA)
                connection.execute("INSERT OR IGNORE INTO meta VALUES (1, ?, 0)", (os.urandom(4).hex(),))
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if verdict == "ok":
                    return connection, generation
                connection.close()
            except sqlite3.OperationalError as error:
                if connection is not None:
                    connection.close()
                raise PlatformError(_foreign(self._path) or f"{self._path}: {error}") from error
            except sqlite3.DatabaseError:
                if connection is not None:
                    connection.close()
            self._set_aside(generation)
        raise PlatformError(f"{self._path}: damaged, and so is the new one in its place")

    def _set_aside(self, generation: int) -> None:
        with self._lock:
            if generation != self.damaged:
                return  # the other thread was first
            self.damaged += 1
            for suffix in _FILES:
                found = self._path.with_name(self._path.name + suffix)
                try:
                    if found.exists():
                        found.replace(self._path.with_name(f"{self._path.name}.damaged{suffix}"))
                except OSError as error:
                    raise PlatformError(
                        f"{found}: damaged, and not to be set aside: {error.strerror}"
                    ) from error

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        generation = self._generation
        while (batch := self._jobs.get()) is not None:
            try:
                if generation != self.damaged:  # the batch has numbers of the file that went
                    _close(connection)
                    connection, generation = self._open()
                    result = Written("the file was damaged and set aside")
                else:
                    if connection is None:
                        connection, generation = self._open()
                    result = _write(connection, batch)
            except PlatformError as error:  # tried again with the next batch
                _close(connection)
                connection, result = None, Written(str(error))
            except sqlite3.DatabaseError as error:
                _close(connection)
                connection, result = None, self._begin_anew(generation, error)
                generation = self.damaged
            self._results.put(result)
            self._wake()
        _close(connection)

    def _begin_anew(self, generation: int, error: sqlite3.DatabaseError) -> Written:
        try:
            self._set_aside(generation)
        except PlatformError as refused:
            return Written(str(refused))
        return Written(f"{error}; set aside")


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()


def _write(connection: sqlite3.Connection, batch: Batch) -> Written:
    try:
        connection.execute("BEGIN IMMEDIATE")
        _apply(connection, batch)
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:  # full, locked, read-only: the file is as it was
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError:  # not even that: begin with a new connection
            raise PlatformError(str(error)) from error
        return Written(str(error))
    return Written()


def _foreign(path: Path) -> str:
    """Return a line about a file of the outbox that belongs to another user, "" if none does."""
    for suffix in _FILES:
        found = path.with_name(path.name + suffix)
        if found.exists() and not os.access(found, os.R_OK | os.W_OK):
            own = user_name(os.geteuid())
            return (
                f"{found}: belongs to user {user_name(found.stat().st_uid)}, expected {own}; "
                f"hand it over: sudo chown {own} {found}"
            )
    return ""


def _apply(connection: sqlite3.Connection, batch: Batch) -> None:
    connection.executemany("DELETE FROM entries WHERE seq BETWEEN ? AND ?", batch.remove)
    connection.executemany("DELETE FROM skipped WHERE first = ? AND last = ?", batch.reported)
    for first, last in batch.skipped:
        # Neighbouring ranges grow together, so that there are never more ranges than entries.
        touching = connection.execute(
            "SELECT min(first), max(last) FROM skipped WHERE last >= ? AND first <= ?", (first - 1, last + 1)
        ).fetchone()
        if touching[0] is not None:
            first, last = min(first, touching[0]), max(last, touching[1])
            connection.execute("DELETE FROM skipped WHERE first >= ? AND last <= ?", (first, last))
        connection.execute("INSERT INTO skipped VALUES (?, ?)", (first, last))
    if batch.append:
        connection.executemany(
            "INSERT INTO entries VALUES (?, ?, ?, ?)",
            [(e.seq, e.t, e.priority, e.data) for e in batch.append],
        )
        connection.execute("UPDATE meta SET last = ?", (batch.append[-1].seq,))
