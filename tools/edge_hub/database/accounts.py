"""Users, their sessions and tokens, and failed logins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from edge_hub.database.engine import Database
from edge_hub.database.schema import login_failures, sessions, tokens, users
from edge_hub.domain.roles import least


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``csrf`` is set for a session; ``scopes`` is empty where all is allowed to the role."""

    name: str
    role: str
    user_id: int
    via: str
    csrf: str = ""
    scopes: tuple[str, ...] = ()
    expires: float = 0.0


def users_page(database: Database) -> list[dict[str, Any]]:
    """Return all users by name."""
    query = select(users.c.id, users.c.name, users.c.role, users.c.created, users.c.disabled)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query.order_by(users.c.name)).mappings()]


def user(connection: Connection, name: str) -> dict[str, Any] | None:
    """Return a user with the password's hash, None if there is none."""
    row = connection.execute(select(users).where(users.c.name == name)).mappings().first()
    return dict(row) if row else None


def user_of_subject(connection: Connection, subject: str) -> dict[str, Any] | None:
    """Return the user whom an OpenID provider identifies so, None if there is none."""
    row = connection.execute(select(users).where(users.c.subject == subject)).mappings().first()
    return dict(row) if row else None


def add_user(
    connection: Connection, name: str, role: str, password: str, now: float, subject: str = ""
) -> int:
    """Add a user; return its number.

    ``password`` is its hash, "" for a user that an OpenID provider identifies as ``subject``.
    """
    values = {"name": name, "role": role, "password": password, "created": now, "disabled": False}
    values["subject"] = subject
    return int(connection.execute(insert(users).values(**values).returning(users.c.id)).scalar_one())


def change_user(connection: Connection, number: int, **values: Any) -> None:
    """Change role, password or disabled; ends the user's sessions."""
    connection.execute(update(users).where(users.c.id == number).values(**values))
    connection.execute(delete(sessions).where(sessions.c.user_id == number))


def remove_user(connection: Connection, number: int) -> None:
    """Remove a user with sessions and tokens."""
    for table in (sessions, tokens):
        connection.execute(delete(table).where(table.c.user_id == number))
    connection.execute(delete(users).where(users.c.id == number))


def admins(connection: Connection) -> int:
    """Return how many admins can log in."""
    query = select(func.count()).where(users.c.role == "admin", users.c.disabled.is_(False))
    return int(connection.execute(query).scalar_one())


def add_session(
    connection: Connection, digest: str, number: int, csrf: str, now: float, until: float
) -> None:
    """Begin a session."""
    values = {"digest": digest, "user_id": number, "csrf": csrf, "created": now, "expires": until}
    connection.execute(insert(sessions).values(**values))


def end_session(connection: Connection, digest: str) -> None:
    """End a session."""
    connection.execute(delete(sessions).where(sessions.c.digest == digest))


def by_session(database: Database, digest: str, now: float) -> Caller | None:
    """Return who has a session, None if it is over."""
    query = (
        select(users.c.id, users.c.name, users.c.role, sessions.c.csrf, sessions.c.expires)
        .join(sessions, sessions.c.user_id == users.c.id)
        .where(sessions.c.digest == digest, sessions.c.expires > now, users.c.disabled.is_(False))
    )
    with database.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else Caller(row.name, row.role, row.id, "session", row.csrf, (), row.expires)


def by_token(database: Database, digest: str, now: float) -> Caller | None:
    """Return who has a token, with the lesser role of the two, None if it is over."""
    query = (
        select(users.c.id, users.c.name, users.c.role, tokens.c.role.label("allowed"), tokens.c.scopes)
        .add_columns(tokens.c.expires, tokens.c.name.label("token"))
        .join(tokens, tokens.c.user_id == users.c.id)
        .where(tokens.c.digest == digest, tokens.c.expires > now, users.c.disabled.is_(False))
    )
    with database.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        return None
    scopes = tuple(json.loads(row.scopes))
    role = least(row.role, row.allowed)
    return Caller(f"{row.name} ({row.token})", role, row.id, "token", "", scopes, row.expires)


def tokens_page(database: Database, number: int | None) -> list[dict[str, Any]]:
    """Return the tokens of a user, or all, without their digests."""
    query = (
        select(tokens, users.c.name.label("user"))
        .join(users, users.c.id == tokens.c.user_id)
        .order_by(tokens.c.id)
    )
    if number is not None:
        query = query.where(tokens.c.user_id == number)
    with database.read() as connection:
        rows = connection.execute(query).mappings().all()
    shown = ("id", "name", "user", "role", "created", "expires", "user_id")
    return [{key: row[key] for key in shown} | {"scopes": json.loads(row["scopes"])} for row in rows]


def add_token(
    connection: Connection,
    name: str,
    number: int,
    digest: str,
    role: str,
    scopes: list[str],
    now: float,
    until: float,
) -> int:
    """Add a token; return its number."""
    values = {
        "name": name,
        "user_id": number,
        "digest": digest,
        "role": role,
        "scopes": json.dumps(scopes),
        "created": now,
        "expires": until,
    }
    return int(connection.execute(insert(tokens).values(**values).returning(tokens.c.id)).scalar_one())


def remove_token(connection: Connection, token: int) -> None:
    """Make a token worthless."""
    connection.execute(delete(tokens).where(tokens.c.id == token))


def failures(connection: Connection, keys: tuple[str, ...], since: float) -> int:
    """Return how often logins failed for the worst of some keys."""
    query = (
        select(func.count())
        .where(login_failures.c.key.in_(keys), login_failures.c.t > since)
        .group_by(login_failures.c.key)
    )
    return max((int(n) for n in connection.scalars(query)), default=0)


def add_failure(connection: Connection, keys: tuple[str, ...], now: float, forget: float) -> None:
    """Note that a login failed; forget those before ``forget``."""
    connection.execute(delete(login_failures).where(login_failures.c.t < forget))
    connection.execute(insert(login_failures), [{"key": key, "t": now} for key in keys])


def clear_failures(connection: Connection, key: str) -> None:
    """Forget a key's failures: a login has succeeded."""
    connection.execute(delete(login_failures).where(login_failures.c.key == key))


def expire(database: Database, now: float) -> None:
    """Remove sessions and tokens that are over."""
    with database.write() as connection:
        for table in (sessions, tokens):
            connection.execute(delete(table).where(table.c.expires <= now))
