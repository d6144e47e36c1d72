"""Logging in and out, the first admin, users and tokens."""

from __future__ import annotations

import asyncio
import hmac
from typing import Annotated, Any

from litestar import Request, Response, delete, get, patch, post
from litestar.datastructures import Cookie
from litestar.params import JSONBody, PathParameter

from edge_agent.errors import ConfigError
from edge_hub.api import passwords
from edge_hub.api.access import COOKIE, PUBLIC
from edge_hub.api.account_schemas import (
    Login,
    MadeToken,
    NewToken,
    NewUser,
    Session,
    Setup,
    Token,
    User,
    UserChange,
)
from edge_hub.api.hub import Hub, caller_of, hub_of
from edge_hub.api.problems import ProblemError
from edge_hub.database import accounts, audit, setup
from edge_hub.domain import secrets
from edge_hub.domain.roles import ADMIN, allows, least

SESSION_S = 12 * 3600.0
WINDOW_S = 300.0
TRIES_PER_USER, TRIES_PER_ADDRESS = 5, 20
_VERIFYING = asyncio.Semaphore(2)  # argon2id takes 64 MB a time

Number = Annotated[int, PathParameter(ge=1, le=2**31 - 1)]
ADMINS = {"role": "admin", "scope": "users"}
SELF = {"role": "viewer", "scope": "users"}


@post("/session", opt={"role": PUBLIC}, summary="Log in", status_code=201)
async def log_in(request: Request[Any, Any, Any], data: JSONBody[Login]) -> Response[Session]:
    """Begin a session: a cookie, and the token that writes carry."""
    hub = hub_of(request)
    now = hub.now()
    by_user, by_address = f"user {data.user}", _address(request)

    def look() -> tuple[int, int, dict[str, Any] | None]:
        with hub.database.read() as connection:
            return (
                accounts.failures(connection, (by_user,), now - WINDOW_S),
                accounts.failures(connection, (by_address,), now - WINDOW_S),
                accounts.user(connection, data.user),
            )

    user_failures, address_failures, found = await hub.run(look)
    if user_failures >= TRIES_PER_USER or address_failures >= TRIES_PER_ADDRESS:
        raise _too_many()
    async with _VERIFYING:
        right = await hub.run(passwords.verify, found["password"] if found else "", data.password)
    if found is None or not right or found["disabled"]:

        def failed() -> None:
            with hub.database.write() as connection:
                accounts.add_failure(connection, (by_user, by_address), now, now - WINDOW_S)

        await hub.run(failed)
        raise ProblemError(401, "Name or password is wrong.")
    return await _begin(request, hub, found, by_user)


@get("/session", opt={"role": "viewer"}, summary="Who is logged in", cache_control=None)
async def get_session(request: Request[Any, Any, Any]) -> Session:
    """Return the caller, and the token that its writes carry."""
    caller = caller_of(request)
    return Session(caller.name, caller.role, caller.csrf, caller.expires)


@delete("/session", opt={"role": "viewer"}, summary="Log out")
async def log_out(request: Request[Any, Any, Any]) -> Response[None]:
    """End the session."""
    hub = hub_of(request)
    digest = secrets.digest(request.cookies.get(COOKIE, ""))

    def end() -> None:
        with hub.database.write() as connection:
            accounts.end_session(connection, digest)

    await hub.change(end)
    hub.callers.pop(("session", digest), None)
    response: Response[None] = Response(None, status_code=204)
    response.delete_cookie(COOKIE)
    return response


@post("/setup", opt={"role": PUBLIC}, summary="Make the first admin", status_code=201)
async def set_up(request: Request[Any, Any, Any], data: JSONBody[Setup]) -> Response[Session]:
    """Make the first admin with the code that the hub printed when it started; works once."""
    hub = hub_of(request)
    kept = await hub.run(passwords.make, data.password)
    now = hub.now()

    def change() -> dict[str, Any]:
        with hub.database.write() as connection:
            digest = setup.code(connection, now)
            if not digest or not hmac.compare_digest(digest, secrets.digest(data.code)):
                raise ProblemError(403, "The code is wrong, was used, or is too old; start the hub again.")
            setup.use(connection)
            if accounts.user(connection, data.user) is not None:
                raise ProblemError(409, f"user {data.user}: is there already")
            number = accounts.add_user(connection, data.user, ADMIN, kept, now)
            audit.append(connection, data.user, "user.setup", data.user, None, {"role": ADMIN})
        return {"id": number, "name": data.user, "role": ADMIN}

    return await _begin(request, hub, await hub.change(change), "")


async def check_failures(request: Request[Any, Any, Any], hub: Hub) -> None:
    """Refuse an address from which too many logins failed lately.

    Raises
    ------
    ProblemError
        Too many (429).
    """

    def look() -> int:
        with hub.database.read() as connection:
            return accounts.failures(connection, (_address(request),), hub.now() - WINDOW_S)

    if await hub.run(look) >= TRIES_PER_ADDRESS:
        raise _too_many()


async def note_failure(request: Request[Any, Any, Any], hub: Hub) -> None:
    """Note that a login from the caller's address failed."""
    now = hub.now()

    def failed() -> None:
        with hub.database.write() as connection:
            accounts.add_failure(connection, (_address(request),), now, now - WINDOW_S)

    await hub.run(failed)


def _address(request: Request[Any, Any, Any]) -> str:
    return f"address {request.client.host if request.client else ''}"


def _too_many() -> ProblemError:
    detail = f"Too many failed logins; try again in {WINDOW_S:g} s."
    return ProblemError(429, detail, {"Retry-After": f"{WINDOW_S:g}"})


async def _begin(
    request: Request[Any, Any, Any], hub: Hub, found: dict[str, Any], failures: str
) -> Response[Session]:
    body, cookie = await begin(request, hub, found, failures)
    return Response(body, status_code=201, cookies=[cookie], headers={"Cache-Control": "no-store"})


async def begin(
    request: Request[Any, Any, Any], hub: Hub, found: dict[str, Any], failures: str
) -> tuple[Session, Cookie]:
    """Begin a session under a new identifier; the one that the browser had before ends."""
    secret, csrf, now = secrets.make(), secrets.make(), hub.now()
    until = now + SESSION_S
    old = secrets.digest(request.cookies.get(COOKIE, ""))

    def change() -> None:
        with hub.database.write() as connection:
            accounts.end_session(connection, old)
            accounts.clear_failures(connection, failures)
            accounts.add_session(connection, secrets.digest(secret), found["id"], csrf, now, until)
            audit.append(connection, found["name"], "session.begin", found["name"])

    await hub.run(change)
    hub.callers.pop(("session", old), None)
    cookie = Cookie(
        COOKIE,
        value=secret,
        max_age=int(SESSION_S),
        httponly=True,
        secure=hub.secure,
        samesite="strict",
    )
    return Session(found["name"], found["role"], csrf, until), cookie


@get("/users", opt=ADMINS, summary="Users")
async def list_users(request: Request[Any, Any, Any]) -> Response[list[User]]:
    """Return all users."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: accounts.users_page(hub.database))


@post("/users", opt=ADMINS, summary="Add a user", status_code=201)
async def add_user(request: Request[Any, Any, Any], data: JSONBody[NewUser]) -> User:
    """Add a user."""
    hub, who = hub_of(request), caller_of(request).name
    kept = await hub.run(passwords.make, data.password)
    now = hub.now()

    def change() -> int:
        with hub.database.write() as connection:
            if accounts.user(connection, data.name) is not None:
                raise ProblemError(409, f"user {data.name}: is there already")
            audit.append(connection, who, "user.add", data.name, None, {"role": data.role})
            return accounts.add_user(connection, data.name, data.role, kept, now)

    return User(await hub.change(change), data.name, data.role, now, False)


@patch("/users/{number:int}", opt=ADMINS, summary="Change a user")
async def change_user(request: Request[Any, Any, Any], number: Number, data: JSONBody[UserChange]) -> User:
    """Change role, password or whether a user can log in; ends the user's sessions."""
    hub, who = hub_of(request), caller_of(request).name
    values: dict[str, Any] = {
        key: value for key in ("role", "disabled") if (value := getattr(data, key)) is not None
    }
    shown = dict(values)
    if data.password is not None:
        values["password"] = await hub.run(passwords.make, data.password)
        shown["password"] = "changed"  # noqa: S105
    if not values:
        raise ConfigError("user: found no change, expected role, password or disabled")

    def change() -> dict[str, Any]:
        with hub.database.write() as connection:
            found = _known(hub, number)
            accounts.change_user(connection, number, **values)
            _require_admin(connection)
            before = {"role": found["role"], "disabled": found["disabled"]}
            audit.append(connection, who, "user.change", found["name"], before, shown)
        return found | {key: value for key, value in values.items() if key != "password"}

    found = await hub.change(change)
    hub.callers.clear()
    return User(**found)


@delete("/users/{number:int}", opt=ADMINS, summary="Remove a user")
async def remove_user(request: Request[Any, Any, Any], number: Number) -> None:
    """Remove a user with sessions and tokens."""
    hub, who = hub_of(request), caller_of(request).name

    def change() -> None:
        with hub.database.write() as connection:
            found = _known(hub, number)
            accounts.remove_user(connection, number)
            _require_admin(connection)
            audit.append(connection, who, "user.remove", found["name"], {"role": found["role"]})

    await hub.change(change)
    hub.callers.clear()


@get("/tokens", opt=SELF, summary="API tokens")
async def list_tokens(request: Request[Any, Any, Any]) -> list[Token]:
    """Return the caller's tokens; an admin sees all."""
    hub, caller = hub_of(request), caller_of(request)
    mine = None if allows(caller.role, ADMIN) else caller.user_id
    return [Token(**row) for row in await hub.run(accounts.tokens_page, hub.database, mine)]


@post("/tokens", opt=SELF, summary="Make an API token", status_code=201)
async def add_token(request: Request[Any, Any, Any], data: JSONBody[NewToken]) -> Response[MadeToken]:
    """Make a token for the caller; the secret is shown this once."""
    hub, caller = hub_of(request), caller_of(request)
    if caller.scopes and not (data.scopes and set(data.scopes) <= set(caller.scopes)):
        raise ProblemError(403, "A token can't make one that may do more.")
    secret, now = secrets.make(secrets.TOKEN_PREFIX), hub.now()
    until = now + data.days * 86_400.0
    if caller.via == "token":
        until = min(until, caller.expires)
    role = least(data.role, caller.role)

    def change() -> int:
        with hub.database.write() as connection:
            number = accounts.add_token(
                connection,
                data.name,
                caller.user_id,
                secrets.digest(secret),
                role,
                list(data.scopes),
                now,
                until,
            )
            after = {"name": data.name, "role": role, "scopes": list(data.scopes), "expires": until}
            audit.append(connection, caller.name, "token.add", str(number), None, after)
            return number

    made = MadeToken(await hub.change(change), secret, until)
    return Response(made, status_code=201, headers={"Cache-Control": "no-store"})


@delete("/tokens/{number:int}", opt=SELF, summary="Make an API token worthless")
async def remove_token(request: Request[Any, Any, Any], number: Number) -> None:
    """Remove a token of the caller's; an admin may remove any."""
    hub, caller = hub_of(request), caller_of(request)
    mine = None if allows(caller.role, ADMIN) else caller.user_id

    def change() -> None:
        known = {row["id"]: row for row in accounts.tokens_page(hub.database, mine)}
        if number not in known:
            raise ProblemError(404, f"token {number}: not known")
        with hub.database.write() as connection:
            accounts.remove_token(connection, number)
            audit.append(
                connection, caller.name, "token.remove", str(number), {"name": known[number]["name"]}
            )

    await hub.change(change)
    hub.callers.clear()


def _known(hub: Hub, number: int) -> dict[str, Any]:
    for row in accounts.users_page(hub.database):
        if row["id"] == number:
            return row
    raise ProblemError(404, f"user {number}: not known")


def _require_admin(connection: Any) -> None:
    if not accounts.admins(connection):
        raise ProblemError(409, "The last admin stays: nobody could let anybody in.")


HANDLERS = [
    log_in,
    get_session,
    log_out,
    set_up,
    list_users,
    add_user,
    change_user,
    remove_user,
    list_tokens,
    add_token,
    remove_token,
]
