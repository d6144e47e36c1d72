"""Births and reports, taken apart into what the registry holds. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire import bodies, messages, topics
from edge_hub.database.devices import Birth
from edge_hub.database.measurements import MAX_NAME

MAX_POPULATIONS = 1000
MAX_JSON = 256 * 1024


_ENCODER = json.JSONEncoder(
    default=lambda value: value.hex() if isinstance(value, bytes) else str(value), allow_nan=False
)


def birth(fleet: str, name: str, payload: bytes, received: float) -> Birth:
    """Return what a message on ``up/birth`` says.

    Raises
    ------
    PeerError
        It breaks the protocol.
    """
    message = messages.decode(payload)
    body = message.body
    bodies.check(bodies.BIRTH, body, "birth")
    return Birth(
        fleet,
        name,
        body["online"],
        _text(body.get("version", ""), "version"),
        _text(body.get("profile", ""), "profile"),
        _text(body.get("boot", ""), "boot"),
        message.t or received,
        _json(body),
        populations(body.get("populations", {})),
    )


def reported(payload: bytes) -> tuple[str, dict[str, Any]]:
    """Return what a message on ``up/reported`` says, as JSON and as it is.

    Raises
    ------
    PeerError
        It breaks the protocol.
    """
    body = messages.decode(payload).body
    bodies.check(bodies.REPORTED, body, "reported")
    return _json(body), body


def populations(found: Mapping[Any, Any]) -> dict[str, tuple[str, int]]:
    """Return name → (bundle, agents).

    Raises
    ------
    PeerError
        There are too many, or one is not ``{bundle, size}``.
    """
    if len(found) > MAX_POPULATIONS:
        raise PeerError(f"populations: {len(found)} of them, at most {MAX_POPULATIONS} expected")
    out: dict[str, tuple[str, int]] = {}
    for name, what in found.items():
        match what:
            case {"bundle": str(bundle), "size": int(size)} if 0 <= size < 2**31:
                out[_text(name, "populations")] = (_text(bundle, "bundle"), size)
            case _:
                raise PeerError(f"populations: {str(name)[:40]!r} is not {{bundle, size}}")
    return out


def check_name(name: str, what: str) -> None:
    """Refuse what can be no fleet's or device's name.

    Raises
    ------
    PeerError
        It has characters or a length that no topic of ours has.
    """
    try:
        topics.check_name(name, what)
    except ConfigError as error:
        raise PeerError(str(error)) from error


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME or not value.isprintable():
        raise PeerError(f"{what}: found {str(value)[:40]!r}, expected at most {MAX_NAME} printed characters")
    return value


def _json(body: Mapping[str, Any]) -> str:
    """Return a body as JSON that both databases hold: bytes in hex, no NaN."""
    try:
        text = _ENCODER.encode(body)
    except (ValueError, TypeError, RecursionError) as error:
        raise PeerError(f"body: can't be kept as JSON ({error})") from error
    if len(text) > MAX_JSON:
        raise PeerError(f"body: {len(text)} characters as JSON, at most {MAX_JSON} expected")
    return text
