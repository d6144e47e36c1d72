"""One-time codes of enrolment: a secret, and who the board must be talking to.

Theory of operation. ``SECRET.PIN``: 80 random bits, and 128 bits of the SHA-256 of the hub's certificate,
both in base 32. A board that gets the pin talks to that certificate alone, whoever has signed it. Without a
pin the certificate must be one that the board believes. The hub keeps the secret's digest.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

SECRET_BYTES, PIN_BYTES = 10, 16
_CODE = re.compile(r"([A-Z2-7]{16})(?:\.([A-Z2-7]{26}))?")


def make(certificate: bytes = b"") -> str:
    """Return a new code; ``certificate`` is the hub's in DER, empty for no pin."""
    found = base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()
    return f"{found}.{pin(certificate)}" if certificate else found


def pin(certificate: bytes) -> str:
    """Return what a code says of a certificate in DER."""
    digest = hashlib.sha256(certificate).digest()[:PIN_BYTES]
    return base64.b32encode(digest).decode().rstrip("=")


def secret_of(code: str) -> str:
    """Return the secret in a code, "" if it is none."""
    found = _CODE.fullmatch(code)
    return found[1] if found else ""
