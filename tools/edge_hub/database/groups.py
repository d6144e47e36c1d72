"""Groups: filters under names."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from edge_hub.database.engine import Database
from edge_hub.database.schema import groups


def page(database: Database) -> list[dict[str, Any]]:
    """Return all groups by name."""
    with database.read() as connection:
        return [dict(row) for row in connection.execute(select(groups).order_by(groups.c.name)).mappings()]


def one(connection: Connection, name: str) -> dict[str, Any] | None:
    """Return a group, None if there is none."""
    row = connection.execute(select(groups).where(groups.c.name == name)).mappings().first()
    return dict(row) if row else None


def put(connection: Connection, name: str, text: str, note: str) -> dict[str, Any] | None:
    """Make or change a group; return it as it was."""
    before = one(connection, name)
    if before is None:
        connection.execute(insert(groups).values(name=name, filter=text, note=note))
    else:
        connection.execute(update(groups).where(groups.c.name == name).values(filter=text, note=note))
    return before


def remove(connection: Connection, name: str) -> None:
    """Delete a group."""
    connection.execute(delete(groups).where(groups.c.name == name))
