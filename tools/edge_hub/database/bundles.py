"""Bundles that were uploaded: looked at when they came, kept whole."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from edge_hub.database.engine import Database
from edge_hub.database.schema import bundles

_SHOWN = (
    bundles.c.digest,
    bundles.c.name,
    bundles.c.version,
    bundles.c.kind,
    bundles.c.size,
    bundles.c.signer,
    bundles.c.uploaded,
    bundles.c.uploaded_by,
)


def page(database: Database, limit: int, before: float) -> list[dict[str, Any]]:
    """Return bundles, the newest first, uploaded before Unix time ``before``."""
    query = select(*_SHOWN).where(bundles.c.uploaded < before)
    with database.read() as connection:
        return [
            dict(row)
            for row in connection.execute(query.order_by(bundles.c.uploaded.desc()).limit(limit)).mappings()
        ]


def one(database: Database, digest: str) -> dict[str, Any] | None:
    """Return a bundle with its manifest, None if it is not here."""
    query = select(*_SHOWN, bundles.c.manifest).where(bundles.c.digest == digest)
    with database.read() as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else {**row, "manifest": json.loads(row["manifest"])}


def content(database: Database, digest: str) -> bytes | None:
    """Return the file, None if it is not here."""
    with database.read() as connection:
        found = connection.scalar(select(bundles.c.content).where(bundles.c.digest == digest))
    return None if found is None else bytes(found)


def add(connection: Connection, values: dict[str, Any], file: bytes) -> bool:
    """Keep a bundle; return False if it was here."""
    there = connection.scalar(select(bundles.c.digest).where(bundles.c.digest == values["digest"]))
    if there is None:
        stored = values | {"manifest": json.dumps(values["manifest"]), "content": file}
        connection.execute(insert(bundles).values(**stored))
    return there is None


def remove(connection: Connection, digest: str) -> None:
    """Delete a bundle."""
    connection.execute(delete(bundles).where(bundles.c.digest == digest))
