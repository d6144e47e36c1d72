"""Telemetry in SQLite: each message once, with the missing sequence numbers.

Theory of operation. The key is (fleet, device, outbox, seq), so repeated messages are ignored, also those
that reached another worker of a shared subscription. Gaps are counted between the lowest and the highest
number of an outbox, except for numbers that the device has reported as thinned out.

All messages of a batch are decoded before any is written, so an invalid message does not affect the others:
it is stored in the table ``rejected`` with its reason. That table keeps the newest messages; ``id`` counts
all of them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from edge_agent.errors import PeerError, PlatformError
from edge_agent.wire import bodies, messages, topics
from edge_hub.rejected import MAX_KEPT, Rejected

_SCHEMA = """
CREATE TABLE IF NOT EXISTS telemetry (
    fleet TEXT, device TEXT, outbox TEXT, seq INTEGER, t REAL, historical INTEGER, body TEXT,
    PRIMARY KEY (fleet, device, outbox, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS skipped (
    fleet TEXT, device TEXT, outbox TEXT, first INTEGER, last INTEGER,
    PRIMARY KEY (fleet, device, outbox, first, last)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rejected (
    id INTEGER PRIMARY KEY AUTOINCREMENT, t REAL, topic TEXT, reason TEXT, size INTEGER, payload BLOB);
"""

Key = tuple[str, str, str]
"""Fleet, device, outbox."""


class Row(NamedTuple):
    """One message, taken apart: ``skipped`` are the ranges that the device thinned out."""

    key: Key
    seq: int
    t: float
    historical: bool
    text: str
    skipped: list[list[int]]


class Archive:
    """One database file.

    Raises
    ------
    PlatformError
        It can't be opened, read or written, here and in every method.
    """

    def __init__(self, path: Path) -> None:
        self.stored = 0
        self.repeated = 0
        self.rejected = Rejected()
        self._path = path
        with self._blamed():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)

    def store(self, batch: list[tuple[str, bytes]]) -> dict[Key, list[int]]:
        """Take (topic, payload) pairs in, in one transaction; return the numbers now stored, by outbox."""
        rows: list[Row] = []
        before = self.rejected.count
        for topic, payload in batch:
            with self.rejected.around(topic, payload):
                rows.append(_row(topic, payload))
        stored: dict[Key, list[int]] = {}
        with self._blamed(), self._transaction():
            for row in rows:
                self._insert(row)
                stored.setdefault(row.key, []).append(row.seq)
            self._set_aside(self.rejected.count - before)
        return stored

    def set_aside(self) -> list[dict[str, Any]]:
        """Return the newest rejected messages, oldest first; ``id`` counts all that there ever were."""
        with self._blamed():
            rows = self._db.execute("SELECT id, t, topic, reason, size FROM rejected ORDER BY id").fetchall()
        return [dict(zip(("id", "t", "topic", "reason", "size"), row, strict=True)) for row in rows]

    def devices(self) -> list[tuple[str, str]]:
        """Return fleet and name of every device that telemetry is here of."""
        with self._blamed():
            return self._db.execute("SELECT DISTINCT fleet, device FROM telemetry").fetchall()

    def gaps(self) -> list[dict[str, Any]]:
        """Return for each outbox what was stored and how many numbers are missing."""
        with self._blamed():
            return self._gaps()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """Name the file in what SQLite raises."""
        try:
            yield
        except sqlite3.Error as error:
            raise PlatformError(f"{self._path}: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _insert(self, row: Row) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO skipped VALUES (?, ?, ?, ?, ?)",
            [(*row.key, first, last) for first, last in row.skipped],
        )
        done = self._db.execute(
            "INSERT OR IGNORE INTO telemetry VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*row.key, row.seq, row.t, row.historical, row.text),
        )
        self.stored += done.rowcount
        self.repeated += 1 - done.rowcount

    def _set_aside(self, count: int) -> None:
        """Write the newest ``count`` rejected messages down, and forget the oldest beyond `MAX_KEPT`."""
        if not count:
            return
        self._db.executemany(
            "INSERT INTO rejected (t, topic, reason, size, payload) VALUES (?, ?, ?, ?, ?)",
            list(self.rejected.kept)[-count:],
        )
        self._db.execute("DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - ?", (MAX_KEPT,))

    def _gaps(self) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT fleet, device, outbox, min(seq), max(seq), count(*) FROM telemetry "
            "WHERE outbox NOT LIKE '@%' GROUP BY fleet, device, outbox ORDER BY fleet, device, outbox"
        ).fetchall()
        out = []
        for fleet, device, outbox, first, last, count in rows:
            thinned = self._thinned((fleet, device, outbox), first, last)
            out.append(
                {
                    "fleet": fleet,
                    "device": device,
                    "outbox": outbox,
                    "first": first,
                    "last": last,
                    "messages": count,
                    "thinned": thinned,
                    "gaps": max(0, last - first + 1 - count - thinned),
                }
            )
        return out

    def _thinned(self, key: tuple[str, str, str], first: int, last: int) -> int:
        """Return how many numbers in the ranges that were told are not there; ranges may overlap."""
        ranges = self._db.execute(
            "SELECT first, last FROM skipped WHERE fleet = ? AND device = ? AND outbox = ? ORDER BY first",
            key,
        ).fetchall()
        total, upto = 0, first - 1
        for low, high in ranges:
            low, high = max(low, upto + 1), min(high, last)
            if low > high:
                continue
            (there,) = self._db.execute(
                "SELECT count(*) FROM telemetry WHERE fleet = ? AND device = ? AND outbox = ? "
                "AND seq BETWEEN ? AND ?",
                (*key, low, high),
            ).fetchone()
            total += high - low + 1 - there
            upto = high
        return total


def _row(topic: str, payload: bytes) -> Row:
    address = topics.parse(topic)
    message = messages.decode(payload)
    body = message.body
    bodies.check(bodies.TELEMETRY, body, topic)
    # Without an outbox, numbers start anew with each process: the time tells such messages apart.
    key = (address.fleet, address.device, body.get("outbox", f"@{message.t}"))
    skipped = body.get("skipped", [])
    for first, last in skipped:
        if first > last:
            raise PeerError(f"{topic}: skipped has {[first, last]}, expected [first, last]")
    text = json.dumps(body, default=bytes.hex, allow_nan=False)
    return Row(key, message.seq, message.t, body.get("historical", False), text, skipped)
