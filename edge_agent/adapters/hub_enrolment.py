"""Asks a hub what this board needs to join a fleet: one HTTPS request, to the hub that the code names.

Theory of operation. A code with a pin names the hub's certificate by its SHA-256; whoever shows another is
told nothing. Without a pin the certificate must be valid by the system's authorities, or by ``ca``. Plain
HTTP is for a hub on this machine alone. An answer is at most `MAX_BYTES`.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_agent.errors import ConfigError, PeerError, PlatformError
from edge_agent.wire import enrolment_answer

PATIENCE_S = 30.0
MAX_BYTES = 32 * 1024 * 1024
PIN_BYTES = 16
_CODE = re.compile(r"[A-Z2-7]{16}(?:\.([A-Z2-7]{26}))?")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def check_code(code: str) -> str:
    """Return the pin in a code, "" if it has none.

    Raises
    ------
    ConfigError
        It is no code.
    """
    found = _CODE.fullmatch(code)
    if found is None:
        raise ConfigError("CODE: expected what edge-hub enrol printed")
    return found[1] or ""


def ask(url: str, code: str, device: str, request: str, ca: Path | None) -> dict[str, Any]:
    """Return the hub's answer, as JSON has it.

    Parameters
    ----------
    url, code : str
        What ``edge-hub enrol`` printed.
    device : str
        The name that the board wants.
    request : str
        Its certificate signing request in PEM.
    ca : Path or None
        Authorities that may have signed the hub's certificate; None: the system's.

    Raises
    ------
    ConfigError
        URL or CA file are wrong, or the hub refuses; the message is its own.
    PeerError
        Whoever answers is not the hub of the code, or answers something else.
    PlatformError
        Nobody answers.
    """
    body = json.dumps({"code": code, "device": device, "request": request})
    try:
        connection = _connected(url, check_code(code), ca)
        try:
            path = urlsplit(url).path.rstrip("/")
            connection.request("POST", f"{path}/api/v1/enrol", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read(MAX_BYTES + 1)
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as error:
        raise PeerError(f"{url}: certificate: {error.verify_message}; --ca names its authority") from error
    except (OSError, http.client.HTTPException) as error:
        raise PlatformError(f"{url}: {error or type(error).__name__}") from error
    return parsed(url, answer.status, data)


def _connected(url: str, pin: str, ca: Path | None) -> http.client.HTTPConnection:
    """Return a connection to a peer that is the hub."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if parts.scheme == "http" and host in _LOOPBACK and not pin:
        return http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    if parts.scheme != "https" or not host:
        raise ConfigError(f"URL: found {url[:80]!r}, expected https://…; http is for this machine alone")
    try:
        trust = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{ca}: no usable CA certificate file ({error})") from error
    if pin:
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE  # the pin says more than any authority could
    connection = http.client.HTTPSConnection(host, port, timeout=PATIENCE_S, context=trust)
    connection.connect()
    if pin:
        shown = connection.sock.getpeercert(binary_form=True) or b""
        digest = hashlib.sha256(shown).digest()[:PIN_BYTES]
        if base64.b32encode(digest).decode().rstrip("=") != pin:
            connection.close()
            raise PeerError(f"{url}: shows another certificate than the hub that made the code")
    return connection


def parsed(url: str, status: int, data: bytes) -> dict[str, Any]:
    """Return what the hub at ``url`` answered.

    Raises
    ------
    ConfigError
        It refuses.
    PeerError
        This is no answer of a hub.
    """
    found = enrolment_answer.decode(data) if len(data) <= MAX_BYTES else None
    if found is None:
        raise PeerError(f"{url}: status {status}, found something else than JSON of a hub")
    if status != 200:
        detail = str(found.get("detail", ""))[:300]
        raise ConfigError(f"{url}: {detail if detail.isprintable() and detail else f'status {status}'}")
    return found
