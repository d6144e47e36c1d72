"""Answers to writes that carried an ``Idempotency-Key``, so that a repetition gets the first one's answer."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete, insert, select, update

from edge_hub.database.engine import Database, ValueRefusedError
from edge_hub.database.schema import idempotency

KEPT_S = 86_400.0
RUNNING = 0
STALE_S = 120.0
"""A request that has had no answer for so long died with its process; its key may be used again."""


class Answer(NamedTuple):
    """What was answered; ``status`` is `RUNNING` while nothing was. ``request`` is the request's digest."""

    request: str
    status: int
    body: bytes


def begin(database: Database, who: str, key: str, request: str, now: float) -> Answer | None:
    """Take a key; return None if it is ours now, else what is known of the request that had it before."""
    mine = (idempotency.c.who == who, idempotency.c.key == key)
    try:
        with database.write() as connection:
            connection.execute(
                delete(idempotency).where(
                    *mine, idempotency.c.status == RUNNING, idempotency.c.created < now - STALE_S
                )
            )
            connection.execute(delete(idempotency).where(idempotency.c.created < now - KEPT_S))
            values = {"who": who, "key": key, "request": request, "created": now}
            connection.execute(insert(idempotency).values(**values, status=RUNNING, body=b""))
    except ValueRefusedError:
        with database.read() as connection:
            row = connection.execute(select(idempotency).where(*mine)).first()
        return Answer("", RUNNING, b"") if row is None else Answer(row.request, row.status, bytes(row.body))
    return None


def finish(database: Database, who: str, key: str, status: int, body: bytes) -> None:
    """Keep the answer."""
    mine = (idempotency.c.who == who, idempotency.c.key == key)
    with database.write() as connection:
        connection.execute(update(idempotency).where(*mine).values(status=status, body=body))


def give_up(database: Database, who: str, key: str) -> None:
    """Forget a key whose request came to nothing, so that it may be tried again."""
    with database.write() as connection:
        connection.execute(delete(idempotency).where(idempotency.c.who == who, idempotency.c.key == key))
