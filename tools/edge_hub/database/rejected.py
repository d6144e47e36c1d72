"""Messages that could not be taken."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from edge_hub.database.engine import Database
from edge_hub.database.schema import rejected

_SHOWN = (rejected.c.id, rejected.c.received, rejected.c.topic, rejected.c.reason, rejected.c.size)


def page(database: Database, before: int, limit: int) -> list[dict[str, Any]]:
    """Return what was put aside, newest first; below number ``before`` if it is not 0."""
    query = select(*_SHOWN).order_by(rejected.c.id.desc()).limit(limit)
    if before:
        query = query.where(rejected.c.id < before)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
