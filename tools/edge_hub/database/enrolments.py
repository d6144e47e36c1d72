"""Enrolments: one-time codes by their digests, and which device used them with which key."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from edge_hub.database.engine import Database
from edge_hub.database.schema import enrolments

MAX_PAGE = 500
_SHOWN = tuple(column for column in enrolments.c if column.name not in ("digest", "public_key"))


def page(database: Database) -> list[dict[str, Any]]:
    """Return the newest enrolments, without what could be used."""
    query = select(*_SHOWN).order_by(enrolments.c.created.desc()).limit(MAX_PAGE)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def add(connection: Connection, row: dict[str, Any], digest: str) -> None:
    """Add an enrolment that nobody has used."""
    connection.execute(insert(enrolments).values(**row, digest=digest, public_key=""))


def by_digest(connection: Connection, digest: str) -> dict[str, Any] | None:
    """Return the enrolment of a code, None if there is none; nobody else changes it in this transaction."""
    query = select(enrolments).where(enrolments.c.digest == digest).with_for_update()
    row = connection.execute(query).mappings().first()
    return dict(row) if row else None


def use(connection: Connection, id_: str, device: str, public_key: str, now: float) -> None:
    """Note which device used a code."""
    connection.execute(
        update(enrolments)
        .where(enrolments.c.id == id_)
        .values(used=now, used_by=device, public_key=public_key)
    )


def is_taken(connection: Connection, fleet: str, device: str) -> bool:
    """Whether a device has enrolled under this name."""
    query = select(enrolments.c.id).where(
        enrolments.c.fleet == fleet, enrolments.c.used_by == device, enrolments.c.used > 0
    )
    return connection.execute(query.limit(1)).first() is not None


def remove(connection: Connection, id_: str) -> dict[str, Any] | None:
    """Remove a code that nobody has used; return it, None if there is none."""
    query = select(*_SHOWN).where(enrolments.c.id == id_, enrolments.c.used == 0)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    connection.execute(delete(enrolments).where(enrolments.c.id == id_))
    return dict(row)
