"""Passwords: argon2id, by argon2-cffi with the parameters of RFC 9106's second recommendation."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from edge_agent.errors import ConfigError
from edge_hub.domain.secrets import MAX_PASSWORD, MIN_PASSWORD

_hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$bm9ib2R5bm9ib2R5$KkLnCkLnCkLnCkLnCkLnCkLnCkLnCkLnCkLnCkLnCkI"


def make(password: str) -> str:
    """Return what is kept of a password.

    Raises
    ------
    ConfigError
        It is too short or too long.
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ConfigError(f"password: expected {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    return _hasher.hash(password.encode("utf-8", "surrogatepass"))


def verify(kept: str, password: str) -> bool:
    """Whether a password is the one; takes as long where ``kept`` is "" (no such user, or no password)."""
    try:
        _hasher.verify(kept or _NOBODY, password.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False
    return bool(kept)
