"""What a hub answers to a board that enrols: JSON of known keys, checked before anything of it is written."""

from __future__ import annotations

import base64
import binascii
import json
import re
import tomllib
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.wire.topics import check_name

OWN_TABLES = ("device", "broker", "hub")
"""Sections of a device's configuration that enrolment writes itself; no start of a hub has them."""
_TEXTS = ("fleet", "device", "host", "ca", "certificate", "username", "password", "start")
_LISTS = ("keys", "release_keys")
_BUNDLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.eab")


def check(found: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an answer that has what it should for the device ``name``.

    Raises
    ------
    PeerError
        It does not.
    """
    wrong = [key for key in _TEXTS if not isinstance(found.get(key), str)]
    wrong += [
        key
        for key in _LISTS
        if not isinstance(found.get(key), list) or not all(isinstance(line, str) for line in found[key])
    ]
    wrong += [key for key in ("port", "release_threshold") if type(found.get(key)) is not int]
    wrong += [] if _are_bundles(found.get("bundles")) else ["bundles"]
    if wrong:
        raise PeerError(f"answer of the hub: {wrong[0]}: missing or of another type")
    check_name(found["fleet"], "answer of the hub: fleet")
    if found["device"] != name or not found["host"] or "\n" in found["password"]:
        raise PeerError("answer of the hub: expected this device's name, a broker, a password of one line")
    try:
        tables = tomllib.loads(found["start"])
    except (ValueError, RecursionError) as error:
        raise PeerError(f"answer of the hub: start: not TOML: {error}") from error
    if set(tables) & set(OWN_TABLES):
        raise PeerError("answer of the hub: start: expected no section device, broker or hub")
    return found


def decode(data: bytes) -> dict[str, Any] | None:
    """Return a JSON object, None if it is something else."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _are_bundles(found: object) -> bool:
    """Whether these are files of bundles in base 64 by name."""
    if not isinstance(found, dict):
        return False
    try:
        return all(
            _BUNDLE.fullmatch(name) and base64.b64decode(text, validate=True) for name, text in found.items()
        )
    except (TypeError, ValueError, binascii.Error):
        return False
