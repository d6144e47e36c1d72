"""Releases that were uploaded: public statements, verified when they came."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from edge_agent.wire.documents import Document
from edge_hub import signed_json
from edge_hub.database.engine import Database
from edge_hub.database.schema import releases
from edge_hub.signed_json import Signed

_SHOWN = tuple(column for column in releases.c if column.name not in ("doc", "signatures"))


def page(database: Database, limit: int, before: float) -> list[dict[str, Any]]:
    """Return releases, the newest first, uploaded before Unix time ``before``."""
    query = select(*_SHOWN, releases.c.doc).where(releases.c.uploaded < before)
    with database.read() as connection:
        rows = connection.execute(query.order_by(releases.c.uploaded.desc()).limit(limit)).mappings().all()
    return [shown(dict(row)) for row in rows]


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with what the release says besides its bundle."""
    document = json.loads(row.pop("doc"))
    row.pop("signatures", None)
    return row | {
        "allows": document.get("allows", []),
        "devices": document.get("devices", []),
        "config": document.get("config", {}),
        "issued": document["issued"],
        "expires": document.get("expires", 0.0),
    }


def of_fleet(database: Database, fleet: str) -> list[Signed]:
    """Return a fleet's releases, by number."""
    query = select(releases.c.doc, releases.c.signatures).where(releases.c.fleet == fleet)
    with database.read() as connection:
        rows = connection.execute(query.order_by(releases.c.number)).all()
    plain = [{"doc": row.doc, "signatures": json.loads(row.signatures)} for row in rows]
    return [signed_json.of_plain(item, "the database") for item in plain]


def put(connection: Connection, signed: Signed, document: Document, now: float, who: str) -> dict[str, Any]:
    """Keep a release; one with the same document is replaced, since it may have other signatures."""
    plain = signed_json.to_plain(signed)
    row = {
        "id": hashlib.sha256(signed["doc"]).hexdigest(),
        "fleet": document["fleet"],
        "population": document["population"],
        "bundle": document["bundle"],
        "number": document["number"],
        "doc": plain["doc"],
        "signatures": json.dumps(plain["signatures"]),
        "uploaded": now,
        "uploaded_by": who,
    }
    connection.execute(delete(releases).where(releases.c.id == row["id"]))
    connection.execute(insert(releases).values(**row))
    return row
