"""In which trace a command or a rollout was asked for, so that what devices answer later is part of it."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from edge_hub import tracing
from edge_hub.database import sql
from edge_hub.database.engine import Database
from edge_hub.database.schema import traces


def keep(connection: Connection, subject: str) -> None:
    """Keep the trace that is open for a command's or rollout's id; nothing where none is."""
    if traceparent := tracing.traceparent():
        connection.execute(insert(traces).values(subject=subject, traceparent=traceparent))


def of(database: Database, subject: str) -> dict[str, str]:
    """Return the carrier of what was asked for, for `edge_hub.tracing`; empty if it was not traced."""
    if not tracing.enabled():
        return {}
    with database.read() as connection:
        found = sql.one(connection, "SELECT traceparent FROM traces WHERE subject = ?", (subject,))
    return {"traceparent": str(found)} if found else {}
