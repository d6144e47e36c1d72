"""Who asks, and whether they may: one place for every route.

Theory of operation. A middleware finds the caller by the session's cookie or by ``Authorization: Bearer``; a
guard compares the caller with the route's ``role`` and ``scope``. A route without a role is the admins'.
Writes by a session carry the session's ``X-CSRF-Token``: another site can make a browser send the cookie, but
can't read the token. Writes that need no caller (login, set-up) must come from this site's own pages, or from
no page (``Origin``).

Callers are kept in memory for `KEPT_S`, so a token that was taken back in another process works so long.
"""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from edge_hub.api.hub import Hub, hub_of
from edge_hub.api.problems import ProblemError
from edge_hub.database import accounts
from edge_hub.database.accounts import Caller
from edge_hub.domain import secrets
from edge_hub.domain.roles import ADMIN, allows

COOKIE = "edge_hub_session"
CSRF_HEADER = "x-csrf-token"
PUBLIC = "public"
KEPT_S = 5.0
_KEPT = 10_000
_SAFE = ("GET", "HEAD", "OPTIONS")


class FindCaller(AbstractAuthenticationMiddleware):
    """Puts the caller, or None, into ``scope["user"]``."""

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Return who asks."""
        hub = hub_of(connection)
        header = connection.headers.get("authorization", "")
        if header:
            kind, _, secret = header.partition(" ")
            found = await _caller(hub, secret.strip(), "token") if kind.lower() == "bearer" else None
            return AuthenticationResult(user=found, auth=None)
        cookie = connection.cookies.get(COOKIE, "")
        found = await _caller(hub, cookie, "session") if cookie else None
        return AuthenticationResult(user=found, auth=None)


async def _caller(hub: Hub, secret: str, kind: str) -> Caller | None:
    if len(secret) > secrets.MAX_PASSWORD:
        return None
    digest, now = secrets.digest(secret), hub.now()
    known = hub.callers.get((kind, digest))
    if known is None or known[1] <= now:
        find = accounts.by_token if kind == "token" else accounts.by_session
        found = await hub.run(find, hub.database, digest, now)
        if len(hub.callers) >= _KEPT:
            hub.callers.clear()
        known = hub.callers[kind, digest] = (found, now + KEPT_S)
    caller = known[0]
    if caller is None or caller.expires <= now:
        return None
    return caller


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request through, or raise the problem."""
    wanted = handler.opt.get("role", ADMIN)
    method = connection.scope.get("method", "GET")  # a WebSocket has none, and reads
    caller: Caller | None = connection.scope.get("user")
    if wanted == PUBLIC:
        if method not in _SAFE:
            _check_origin(connection)
        return
    if caller is None:
        raise ProblemError(401, "Log in, or send a token that is valid.", {"WWW-Authenticate": "Bearer"})
    if caller.via == "session":
        if method not in _SAFE:
            sent = connection.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(sent.encode(), caller.csrf.encode()):
                raise ProblemError(403, f"{CSRF_HEADER}: expected the session's token")
        if str(connection.scope["type"]) == "websocket":
            _check_origin(connection)
    scope = handler.opt.get("scope", "")
    if caller.scopes and scope not in caller.scopes:
        raise ProblemError(
            403, f"The token's scopes are {', '.join(caller.scopes)}; this is {scope or 'none'}."
        )
    if not allows(caller.role, wanted):
        raise ProblemError(403, f"This needs the role {wanted}; yours is {caller.role}.")


def _check_origin(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    origin = connection.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != connection.headers.get("host", ""):
        raise ProblemError(403, "Origin: expected this site's own")
