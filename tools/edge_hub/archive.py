"""Telemetry in SQLite: every message once, whoever took it in, and which numbers are missing.

Theory of operation. The key is (fleet, device, outbox, seq), so repetitions, also those that reached
another worker of a shared subscription, fall away on their own. Gaps are counted where they can be:
between the lowest and the highest number of an outbox, less what the device said it thinned out.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from edge_agent.errors import PeerError, PlatformError
from edge_agent.wire import bodies, messages, topics

_SCHEMA = """
CREATE TABLE IF NOT EXISTS telemetry (
    fleet TEXT, device TEXT, outbox TEXT, seq INTEGER, t REAL, historical INTEGER, body TEXT,
    PRIMARY KEY (fleet, device, outbox, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS skipped (
    fleet TEXT, device TEXT, outbox TEXT, first INTEGER, last INTEGER,
    PRIMARY KEY (fleet, device, outbox, first, last)) WITHOUT ROWID;
"""

Key = tuple[str, str, str]
"""Fleet, device, outbox."""


class Archive:
    """One database file.

    Raises
    ------
    PlatformError
        It can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.stored = 0
        self.repeated = 0
        self.malformed = 0
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise PlatformError(f"{path}: {error}") from error

    def store(self, batch: list[tuple[str, bytes]]) -> dict[Key, list[int]]:
        """Take (topic, payload) pairs in, in one transaction; return the numbers now stored, by outbox."""
        stored: dict[Key, list[int]] = {}
        self._db.execute("BEGIN IMMEDIATE")
        for topic, payload in batch:
            try:
                key, seq = self._store(topic, payload)
                stored.setdefault(key, []).append(seq)
            except PeerError:
                self.malformed += 1
        self._db.execute("COMMIT")
        return stored

    def gaps(self) -> list[dict[str, Any]]:
        """Return for each outbox what was stored and how many numbers are missing."""
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

    def close(self) -> None:
        """Close the file."""
        self._db.close()

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

    def _store(self, topic: str, payload: bytes) -> tuple[Key, int]:
        address = topics.parse(topic)
        message = messages.decode(payload)
        body = message.body
        bodies.check(bodies.TELEMETRY, body, topic)
        if not 0 <= message.seq < 2**63:
            raise PeerError(f"{topic}: seq {message.seq}")
        # Without an outbox, numbers start anew with each process: the time tells such messages apart.
        key = (address.fleet, address.device, body.get("outbox", f"@{message.t}"))
        for pair in body.get("skipped", ()):
            match pair:
                case [int(first), int(last)] if 0 <= first <= last < 2**63:
                    self._db.execute(
                        "INSERT OR IGNORE INTO skipped VALUES (?, ?, ?, ?, ?)", (*key, first, last)
                    )
                case _:
                    raise PeerError(f"{topic}: skipped has {pair!r}, expected [first, last]")
        text = json.dumps(body, default=lambda value: value.hex() if isinstance(value, bytes) else str(value))
        done = self._db.execute(
            "INSERT OR IGNORE INTO telemetry VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*key, message.seq, message.t, bool(body.get("historical", False)), text),
        )
        self.stored += done.rowcount
        self.repeated += 1 - done.rowcount
        return key, message.seq
