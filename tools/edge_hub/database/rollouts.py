"""Rollouts as the service keeps them: the state machine's JSON, and who asked for what.

``summary`` is what a list shows of the state: with 10,000 devices the state takes 2 MB and 0.2 s to read.
``request`` is what somebody asked a running rollout for (pause, resume, abort) until its runner has seen it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from edge_hub.database import sql
from edge_hub.database.engine import Database
from edge_hub.database.schema import rollouts

PROPOSED = "proposed"
"""Waits for somebody to approve it; every other status is `edge_hub.rollout`'s."""
WITHDRAWN = "withdrawn"
"""Was never approved and never will be."""

_SHOWN = tuple(column for column in rollouts.c if column.name not in ("state", "request", "ended"))


def summary(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a list shows of the state of a rollout."""
    states = Counter(member["state"] for member in state["members"].values())
    return {
        "reason": state["reason"],
        "wave": state["wave"] + 1,
        "waves": len(state["waves"]),
        "devices": states.total(),
        "counts": dict(sorted(states.items())),
    }


def page(database: Database, limit: int, before: float) -> list[dict[str, Any]]:
    """Return rollouts, the newest first, made before Unix time ``before``, without their members."""
    query = select(*_SHOWN).where(rollouts.c.created < before)
    with database.read() as connection:
        rows = connection.execute(query.order_by(rollouts.c.created.desc()).limit(limit)).mappings().all()
    return [_shown(dict(row)) for row in rows]


def shown(database: Database, id_: str) -> dict[str, Any] | None:
    """Return a rollout as `page` shows it, None if there is none."""
    with database.read() as connection:
        query = select(*_SHOWN).where(rollouts.c.id == id_)
        row = connection.execute(query).mappings().first()
    return None if row is None else _shown(dict(row))


def one(database: Database, id_: str) -> dict[str, Any] | None:
    """Return a rollout, None if there is none."""
    with database.read() as connection:
        row = connection.execute(select(rollouts).where(rollouts.c.id == id_)).mappings().first()
    return None if row is None else dict(row)


def add(connection: Connection, **values: Any) -> None:
    """Add a rollout; ``state`` is the state machine's."""
    defaults = {"approved_by": "", "updated": values["created"], "request": "", "ended": False}
    connection.execute(insert(rollouts).values(**(defaults | values | _columns(values["state"]))))


def save(database: Database, id_: str, state: dict[str, Any], now: float) -> None:
    """Write a running rollout's state."""
    values = {"status": state["status"], "updated": now} | _columns(state)
    with database.write() as connection:
        connection.execute(update(rollouts).where(rollouts.c.id == id_).values(**values))


def approve(connection: Connection, id_: str, who: str, now: float) -> None:
    """Let a proposed rollout run."""
    values = {"status": "running", "approved_by": who, "updated": now}
    connection.execute(
        update(rollouts).where(rollouts.c.id == id_, rollouts.c.status == PROPOSED).values(**values)
    )


def withdraw(connection: Connection, id_: str, now: float) -> None:
    """End a rollout that was never approved."""
    connection.execute(
        update(rollouts)
        .where(rollouts.c.id == id_, rollouts.c.status == PROPOSED)
        .values(status=WITHDRAWN, ended=True, updated=now)
    )


def ask(connection: Connection, id_: str, what: str) -> None:
    """Ask a rollout's runner to pause, resume or abort."""
    connection.execute(update(rollouts).where(rollouts.c.id == id_).values(request=what))


def take_request(database: Database, id_: str) -> str:
    """Return what was asked for since the last call, "" if nothing."""
    with database.read() as connection:
        what = sql.one(connection, "SELECT request FROM rollouts WHERE id = ?", (id_,)) or ""
    if what:
        with database.write() as connection:
            connection.execute(
                update(rollouts).where(rollouts.c.id == id_, rollouts.c.request == what).values(request="")
            )
    return str(what)


def proposed(database: Database) -> list[dict[str, Any]]:
    """Return the rollouts that wait for somebody to approve them, the oldest first."""
    query = select(rollouts).where(rollouts.c.status == PROPOSED).order_by(rollouts.c.created).limit(500)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def open_ids(database: Database) -> list[tuple[str, str]]:
    """Return (id, fleet) of the rollouts that a runner should have."""
    query = select(rollouts.c.id, rollouts.c.fleet).where(
        rollouts.c.ended.is_(False), rollouts.c.status != PROPOSED
    )
    with database.read() as connection:
        return [(row.id, row.fleet) for row in connection.execute(query.order_by(rollouts.c.created))]


def end(connection: Connection, id_: str, now: float) -> None:
    """Write down that a rollout's runner has nothing more to do."""
    connection.execute(update(rollouts).where(rollouts.c.id == id_).values(ended=True, updated=now))


def reopen(database: Database, id_: str, state: dict[str, Any], now: float) -> None:
    """Let a rollout that is done go on for devices that joined its group."""
    values = {"status": state["status"], "ended": False, "updated": now} | _columns(state)
    with database.write() as connection:
        connection.execute(
            update(rollouts).where(rollouts.c.id == id_, rollouts.c.ended.is_(True)).values(**values)
        )


def standing(database: Database) -> list[dict[str, Any]]:
    """Return, of each fleet's population and group, the last rollout, if it is done: who joins gets it."""
    query = select(rollouts).where(rollouts.c.group_name != "", rollouts.c.status != PROPOSED)
    with database.read() as connection:
        rows = connection.execute(query.order_by(rollouts.c.created)).mappings().all()
    last = {(r["fleet"], r["population"], r["group_name"]): r for r in rows if r["status"] != WITHDRAWN}
    return [dict(row) for row in last.values() if row["status"] == "done" and row["ended"]]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.pop("summary"))
    return row | found


def _columns(state: Mapping[str, Any]) -> dict[str, str]:
    # The state of 10,000 devices takes the standard library ten times as long.
    return {"state": msgspec.json.encode(state).decode(), "summary": json.dumps(summary(state))}
