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


def of(database: Database, subject: str) -> str:
    """Return the ``traceparent`` of what was asked for, "" if it was not traced."""
    with database.read() as connection:
        return str(sql.one(connection, "SELECT traceparent FROM traces WHERE subject = ?", (subject,)) or "")
