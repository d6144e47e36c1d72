"""Statements past SQLAlchemy's compiler, for the hot paths: ``?`` marks a value for both databases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

Values = Sequence[Any]


def run(connection: Connection, statement: str, values: Values = ()) -> Any:
    """Run a statement; return its result."""
    return connection.exec_driver_sql(_marked(connection, statement), tuple(values))


def many(connection: Connection, statement: str, rows: list[tuple[Any, ...]]) -> None:
    """Run a statement for each row."""
    if rows:
        connection.exec_driver_sql(_marked(connection, statement), rows)


def one(connection: Connection, statement: str, values: Values = ()) -> Any:
    """Return the first column of the first row, None if there is none."""
    row = run(connection, statement, values).first()
    return None if row is None else row[0]


def any_of(connection: Connection, values: Sequence[Any]) -> tuple[str, Any]:
    """Return the condition that a column has one of some values, and the value that it takes for ``?``."""
    if connection.dialect.name == "sqlite":
        return "IN (SELECT value FROM json_each(?))", json.dumps(values)
    return "= ANY(?)", list(values)


def clean(text: str) -> str:
    """Return text that both databases can hold: without NUL and lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "replace").decode("utf-8")


def _marked(connection: Connection, statement: str) -> str:
    return statement if connection.dialect.name == "sqlite" else statement.replace("?", "%s")
