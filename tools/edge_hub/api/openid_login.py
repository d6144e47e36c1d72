"""Logging in by an OpenID provider: to it, and back with a code; see `edge_hub.openid`."""

from __future__ import annotations

import hmac
import logging
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.datastructures import Cookie
from litestar.params import QueryParameter
from litestar.response import Redirect

from edge_agent.errors import PeerError
from edge_hub import openid
from edge_hub.api import accounts as sessions
from edge_hub.api.access import PUBLIC
from edge_hub.api.account_schemas import OpenId
from edge_hub.api.hub import Hub, hub_of
from edge_hub.api.problems import ProblemError, known
from edge_hub.database import accounts, audit
from edge_hub.domain import secrets
from edge_hub.openid import OpenIdProvider, Person

log = logging.getLogger("edge_hub")

LOGIN_S = 600
MAX_CODE = 4096
OPEN = {"role": PUBLIC}


@get("/oidc", opt=OPEN, summary="Whether people can log in by an OpenID provider")
async def get_openid(request: Request[Any, Any, Any]) -> OpenId:
    """Return the provider's address, "" if there is none."""
    provider = hub_of(request).openid
    return OpenId(provider.issuer if provider else "")


@get("/oidc/login", opt=OPEN, summary="Go to the OpenID provider", status_code=302)
async def go_to_provider(request: Request[Any, Any, Any]) -> Redirect:
    """Send the browser to the provider, with a secret of this login in a cookie."""
    hub = hub_of(request)
    provider = _provider(hub)
    secret = secrets.make()
    address = await hub.run(provider.address, secret)
    headers = {"Cache-Control": "no-store"}
    return Redirect(address, status_code=302, cookies=[_cookie(hub, secret, LOGIN_S)], headers=headers)


@get("/oidc/callback", opt=OPEN, summary="Come back from the OpenID provider", status_code=302)
async def come_back(
    request: Request[Any, Any, Any],
    returned: Annotated[str, QueryParameter(name="state", max_length=MAX_CODE)] = "",
    code: Annotated[str, QueryParameter(max_length=MAX_CODE)] = "",
    error: Annotated[str, QueryParameter(max_length=MAX_CODE)] = "",
) -> Response[None]:
    """Begin a session for whom the provider has identified, and show the first page."""
    hub = hub_of(request)
    provider = _provider(hub)
    await sessions.check_failures(request, hub)
    secret = request.cookies.get(_name(hub), "")
    # Compared before anything else: a code that was begun in another browser logs nobody in.
    if not secret or not hmac.compare_digest(returned.encode(), openid.derived(secret, "state").encode()):
        raise ProblemError(403, "state: this login was not begun in this browser; begin anew.")
    if error or not code:
        raise ProblemError(401, f"The provider has not logged you in: {error[:100] or 'no code'}.")
    try:
        person = await hub.run(provider.person, secret, code)
    except PeerError as refused:
        log.warning("%s", refused)
        await sessions.note_failure(request, hub)
        raise ProblemError(401, str(refused)) from refused
    found = await hub.change(_user, hub, person)
    if found["disabled"]:
        raise ProblemError(403, f"user {found['name']}: is disabled")
    _, cookie = await sessions.begin(request, hub, found, "")
    cookies = [cookie, _cookie(hub, "", 0)]
    return Redirect("/", status_code=302, cookies=cookies, headers={"Cache-Control": "no-store"})


def _user(hub: Hub, person: Person) -> dict[str, Any]:
    """Return the user of a person, made at the first login; its role is what the provider says today."""
    with hub.database.write() as connection:
        before = accounts.user_of_subject(connection, person.subject)
        if before is None:
            name = person.name
            if accounts.user(connection, name) is not None:  # another's; nobody takes over a name
                name = f"{name} ({secrets.digest(person.subject)[:8]})"
            number = accounts.add_user(connection, name, person.role, "", hub.now(), person.subject)
            audit.append(connection, name, "user.add", name, None, {"role": person.role, "by": "openid"})
            return {"id": number, "name": name, "role": person.role, "disabled": False}
        if before["role"] != person.role:
            accounts.change_user(connection, before["id"], role=person.role)
            old, new = {"role": before["role"]}, {"role": person.role, "by": "openid"}
            audit.append(connection, before["name"], "user.change", before["name"], old, new)
        return before | {"role": person.role}


def _provider(hub: Hub) -> OpenIdProvider:
    return known(hub.openid, "OpenID provider")


def _name(hub: Hub) -> str:
    return "__Host-edge_hub_login" if hub.secure else "edge_hub_login"


def _cookie(hub: Hub, secret: str, seconds: int) -> Cookie:
    """Return the cookie of a login; Lax, since the way back begins at the provider's site."""
    return Cookie(
        _name(hub), value=secret, max_age=seconds, httponly=True, secure=hub.secure, samesite="lax", path="/"
    )


HANDLERS = [get_openid, go_to_provider, come_back]
