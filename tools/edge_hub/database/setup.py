"""The code that makes the first admin: printed once at the first start, kept as a digest, used once."""

from __future__ import annotations

import json

from sqlalchemy import Connection

from edge_hub.database import accounts, sql
from edge_hub.database.engine import Database
from edge_hub.domain import secrets

VALID_S = 3600.0
_KEY = "setup"


def offer(database: Database, now: float) -> str:
    """Return a new code if nobody can log in yet, else ""."""
    with database.write() as connection:
        if accounts.admins(connection):
            return ""
        made = secrets.make()
        value = json.dumps({"digest": secrets.digest(made), "expires": now + VALID_S})
        sql.run(
            connection,
            "INSERT INTO settings (key, value) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (_KEY, value),
        )
    return made


def code(connection: Connection, now: float) -> str:
    """Return the digest of the code that is valid, "" if none is."""
    text = sql.one(connection, "SELECT value FROM settings WHERE key = ?", (_KEY,))
    found = json.loads(text) if text else {}
    return str(found["digest"]) if found and found["expires"] > now else ""


def use(connection: Connection) -> None:
    """Make the code worthless."""
    sql.run(connection, "DELETE FROM settings WHERE key = ?", (_KEY,))
