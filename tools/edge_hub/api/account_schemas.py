"""Requests and answers about users, tokens and sessions."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from edge_hub.api.schemas import LoginName, Role, Scope, Secret


class User(Struct):
    """Somebody who can log in."""

    id: int
    name: str
    role: str
    created: float
    disabled: bool


class NewUser(Struct, forbid_unknown_fields=True):
    """A user to be added."""

    name: LoginName
    role: Role
    password: Secret


class UserChange(Struct, forbid_unknown_fields=True):
    """What is to be otherwise; every session of the user ends."""

    role: Role | None = None
    password: Secret | None = None
    disabled: bool | None = None


class Token(Struct):
    """An API token, without its secret."""

    id: int
    name: str
    user: str
    user_id: int
    role: str
    scopes: list[str]
    created: float
    expires: float


class NewToken(Struct, forbid_unknown_fields=True):
    """A token to be made; it may do no more than ``role``, its user's role, and its scopes (none: all)."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_. -]{1,64}$")]
    role: Role = "viewer"
    scopes: list[Scope] = []
    days: Annotated[float, Meta(gt=0, le=366)] = 90.0


class MadeToken(Struct):
    """A token with its secret, which is shown this once."""

    id: int
    token: str
    expires: float


class Login(Struct, forbid_unknown_fields=True):
    """Name and password."""

    user: Secret
    password: Secret


class Setup(Struct, forbid_unknown_fields=True):
    """The code of the one-time link, and who is to be the first admin."""

    code: Secret
    user: LoginName
    password: Secret


class Session(Struct):
    """Who is logged in. Writes with a session carry ``csrf`` in the header ``X-CSRF-Token``."""

    user: str
    role: str
    csrf: str
    expires: float


class OpenId(Struct):
    """The OpenID provider by which people can log in (``/api/v1/oidc/login``), "" for none."""

    issuer: str
