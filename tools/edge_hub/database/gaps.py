"""Which telemetry is missing: by outbox, between its lowest and its highest number.

Theory of operation. Numbers of an outbox have no holes on the device. From the oldest that is still kept
here to the newest, what is stored, what the device said it thinned out and what it learned
(``learned_numbers``) add up to all of them; the rest is a gap.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from edge_hub.database import sql
from edge_hub.database.engine import Database

_ROWS = (
    "SELECT d.fleet, d.name, o.id, o.outbox, min(t.seq) AS first, max(t.seq) AS last, count(*) AS messages "
    "FROM telemetry t JOIN outboxes o ON o.id = t.outbox_id JOIN devices d ON d.id = o.device_id "
    "WHERE o.outbox <> ''"
)
_LEARNED = "SELECT count(*) FROM learned_numbers WHERE outbox_id = ? AND seq BETWEEN ? AND ?"
_GROUPED = " GROUP BY d.fleet, d.name, o.id, o.outbox ORDER BY d.fleet, d.name, o.outbox"


def gaps(database: Database, device: int | None = None) -> list[dict[str, Any]]:
    """Return for each outbox, of one device or of all, what is stored and how many numbers are missing."""
    one = "" if device is None else " AND t.device_id = ?"
    values = () if device is None else (device,)
    out = []
    with database.read() as connection:
        for row in sql.run(connection, _ROWS + one + _GROUPED, values).mappings().all():
            first, last, stored = row["first"], row["last"], row["messages"]
            thinned = _thinned(connection, row["id"], first, last)
            learned = int(sql.one(connection, _LEARNED, (row["id"], first, last)))
            out.append(
                {
                    "fleet": row["fleet"],
                    "device": row["name"],
                    "outbox": row["outbox"],
                    "first": first,
                    "last": last,
                    "messages": stored,
                    "thinned": thinned,
                    "gaps": max(0, last - first + 1 - stored - thinned - learned),
                }
            )
    return out


def missing(connection: Connection, outbox: int, first: int, last: int) -> int:
    """Return how many numbers of an outbox are missing from ``first`` to ``last``."""
    query = "SELECT count(*) FROM telemetry WHERE outbox_id = ? AND seq BETWEEN ? AND ?"
    stored = int(sql.one(connection, query, (outbox, first, last)))
    return max(0, last - first + 1 - stored - _thinned(connection, outbox, first, last))


def _thinned(connection: Connection, outbox: int, first: int, last: int) -> int:
    """Return how many numbers in the ranges that were told are not there; ranges may overlap."""
    query = "SELECT first, last FROM skipped WHERE outbox_id = ? ORDER BY first"
    inside = "SELECT count(*) FROM telemetry WHERE outbox_id = ? AND seq BETWEEN ? AND ?"
    total, upto = 0, first - 1
    for low, high in sql.run(connection, query, (outbox,)).all():
        low, high = max(low, upto + 1), min(high, last)
        if low > high:
            continue
        total += high - low + 1 - int(sql.one(connection, inside, (outbox, low, high)))
        upto = high
    return total
