"""The audit: who changed what, each entry with the hash of the one before.

Theory of operation. An entry is written in the transaction of the change itself, so there is none without the
other. Its hash is SHA-256 over the entry as canonical JSON, the hash of the entry before included: whoever
changes, adds or takes out an entry must write all later ones anew, and then the last hash is another than the
one that was noted elsewhere (``/api/v1/audit/verify`` returns it). Cutting off the end is seen in that way
alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from sqlalchemy import Connection, insert, select, text

from edge_hub.database.engine import Database
from edge_hub.database.schema import audit

_LOCK = 0x61756469  # "audi": entries are made one after the other
_BATCH = 1000
FIRST = "0" * 64


def append(
    connection: Connection, who: str, action: str, subject: str, before: Any = None, after: Any = None
) -> None:
    """Add an entry; ``before`` and ``after`` are JSON, None for nothing."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    last = connection.execute(select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).first()
    entry = {
        "seq": last.seq + 1 if last else 1,
        "t": round(time.time(), 3),
        "who": who,
        "action": action,
        "object": subject,
        "before": _text(before),
        "after": _text(after),
        "previous": last.hash if last else FIRST,
    }
    connection.execute(insert(audit).values(**entry, hash=digest(entry)))


def page(database: Database, before: int = 0, limit: int = 50) -> list[dict[str, Any]]:
    """Return entries, newest first; those below number ``before`` if it is not 0."""
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if before:
        query = query.where(audit.c.seq < before)
    with database.read() as connection:
        rows = connection.execute(query).mappings().all()
    return [{**row, "before": json.loads(row["before"]), "after": json.loads(row["after"])} for row in rows]


def verify(database: Database) -> dict[str, Any]:
    """Follow the chain; return how many entries hold, the first that does not (0: none), the last hash."""
    previous, seq = FIRST, 0
    with database.read() as connection:
        while (
            rows := connection.execute(
                select(audit).where(audit.c.seq > seq).order_by(audit.c.seq).limit(_BATCH)
            )
            .mappings()
            .all()
        ):
            for row in rows:
                entry = {key: value for key, value in row.items() if key != "hash"}
                sound = row["seq"] == seq + 1 and row["previous"] == previous and row["hash"] == digest(entry)
                if not sound:
                    return {"entries": seq, "broken": row["seq"], "hash": previous}
                previous, seq = row["hash"], row["seq"]
    return {"entries": seq, "broken": 0, "hash": previous}


def digest(entry: dict[str, Any]) -> str:
    """Return the hash of an entry."""
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
