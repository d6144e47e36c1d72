"""Secrets that callers show: made from random bytes, kept as digests alone.

Session identifiers and tokens have 256 random bits, so a plain SHA-256 of them says nothing about them.
Passwords are chosen by people and are kept by argon2id (`edge_hub.api.passwords`).
"""

from __future__ import annotations

import hashlib
import secrets

TOKEN_PREFIX = "eht_"  # noqa: S105 - tells a token apart in logs and to secret scanners
MIN_PASSWORD, MAX_PASSWORD = 10, 256


def make(prefix: str = "") -> str:
    """Return a new secret."""
    return prefix + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return what is kept of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
