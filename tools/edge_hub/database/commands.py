"""Commands that were sent, and what each device answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from edge_hub.database.engine import Database
from edge_hub.database.schema import commands, replies

WAITING, DONE, FAILED = "waiting", "done", "failed"


def add(connection: Connection, values: dict[str, Any], devices: Sequence[str]) -> None:
    """Keep a command, and that each device's answer is waited for."""
    connection.execute(insert(commands).values(**values | {"arguments": json.dumps(values["arguments"])}))
    rows = [
        {"command_id": values["id"], "device": name, "state": WAITING, "reason": "", "result": "{}"}
        for name in devices
    ]
    if rows:
        connection.execute(insert(replies), rows)


def answer(database: Database, id_: str, device: str, ok: bool, reason: str, result: Any, now: float) -> bool:
    """Keep a device's answer; return False if none was waited for."""
    values = {
        "state": DONE if ok else FAILED,
        "reason": reason,
        "result": json.dumps(result, default=str),
        "answered": now,
    }
    waiting = (replies.c.command_id == id_, replies.c.device == device, replies.c.state == WAITING)
    with database.write() as connection:
        return bool(connection.execute(update(replies).where(*waiting).values(**values)).rowcount)


def begun(database: Database, id_: str) -> tuple[str, str, float] | None:
    """Return fleet, name and created (Unix seconds) of a command, None if there is none."""
    query = select(commands.c.fleet, commands.c.name, commands.c.created).where(commands.c.id == id_)
    with database.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else (row.fleet, row.name, row.created)


def page(database: Database, limit: int, before: float) -> list[dict[str, Any]]:
    """Return commands, the newest first, made before Unix time ``before``."""
    query = select(commands).where(commands.c.created < before).order_by(commands.c.created.desc())
    with database.read() as connection:
        rows = connection.execute(query.limit(limit)).mappings().all()
    return [{**row, "arguments": json.loads(row["arguments"])} for row in rows]


def one(database: Database, id_: str) -> dict[str, Any] | None:
    """Return a command with the devices' answers, None if there is none."""
    with database.read() as connection:
        row = connection.execute(select(commands).where(commands.c.id == id_)).mappings().first()
        if row is None:
            return None
        query = select(replies).where(replies.c.command_id == id_).order_by(replies.c.device)
        answers = connection.execute(query).mappings().all()
    shown = ("device", "state", "reason", "answered")
    return {
        **row,
        "arguments": json.loads(row["arguments"]),
        "replies": [{k: a[k] for k in shown} | {"result": json.loads(a["result"])} for a in answers],
    }
