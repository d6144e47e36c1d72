"""Reads the fields of a message body with type and range checks; failures are PeerError.

Unknown keys are ignored by not being asked for; a missing key takes its default. Integers stay integers:
what all devices must compute alike never passes through a float.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_agent.errors import PeerError

_REQUIRED = object()


def integer(body: Mapping[Any, Any], key: str, low: int, high: int, default: int | None = None) -> int:
    """Return ``body[key]``, an integer in [low, high].

    Raises
    ------
    PeerError
        It is missing without a default, no integer, or out of range.
    """
    return check_integer(key, body.get(key, default), low, high)


def check_integer(key: str, value: Any, low: int, high: int) -> int:
    """Return ``value`` if it is an integer in [low, high]; ``key`` names it in the error."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PeerError(f"{key}: found {type(value).__name__}, expected an integer")
    if not low <= value <= high:
        raise PeerError(f"{key}: found {value}, expected {low} to {high}")
    return value


def text(body: Mapping[Any, Any], key: str, longest: int, default: str | None = None) -> str:
    """Return ``body[key]``, a text of at most ``longest`` characters; errors as `integer`."""
    return check_text(key, body.get(key, default), longest)


def check_text(key: str, value: Any, longest: int) -> str:
    """Return ``value`` if it is a text of at most ``longest`` characters."""
    if not isinstance(value, str):
        raise PeerError(f"{key}: found {type(value).__name__}, expected a text")
    if len(value) > longest:
        raise PeerError(f"{key}: {len(value)} characters, at most {longest} expected")
    return value


def blob(
    body: Mapping[Any, Any], key: str, shortest: int, longest: int, default: bytes | None = None
) -> bytes:
    """Return ``body[key]``, bytes of a length in [shortest, longest]; errors as `integer`."""
    return check_blob(key, body.get(key, default), shortest, longest)


def check_blob(key: str, value: Any, shortest: int, longest: int) -> bytes:
    """Return ``value`` if it is bytes of a length in [shortest, longest]."""
    if not isinstance(value, bytes):
        raise PeerError(f"{key}: found {type(value).__name__}, expected bytes")
    if not shortest <= len(value) <= longest:
        raise PeerError(f"{key}: {len(value)} bytes, expected {shortest} to {longest}")
    return value


def sequence(body: Mapping[Any, Any], key: str, longest: int) -> Sequence[Any]:
    """Return ``body[key]``, a list of at most ``longest`` items, empty if missing; errors as `integer`."""
    value = body.get(key, [])
    if not isinstance(value, list):
        raise PeerError(f"{key}: found {type(value).__name__}, expected a list")
    if len(value) > longest:
        raise PeerError(f"{key}: {len(value)} items, at most {longest} expected")
    return value


def mapping(body: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    """Return ``body[key]``, a map, empty if missing; errors as `integer`."""
    value = body.get(key, {})
    if not isinstance(value, dict):
        raise PeerError(f"{key}: found {type(value).__name__}, expected a map")
    return value


def row(key: str, value: Any, shortest: int) -> Sequence[Any]:
    """Return ``value``, one row of a table: at least ``shortest`` items, since newer senders may append."""
    if not isinstance(value, list) or len(value) < shortest:
        raise PeerError(f"{key}: expected rows of {shortest} items")
    return value
