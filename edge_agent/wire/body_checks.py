"""The checks that every message body passes before anyone acts on it, on the device and on the hub.

Theory of operation. msgpack and JSON can carry more than a reader expects: keys that are not text, timestamps
and other extension types, a thousand levels, infinities, numbers that no msgpack can say again, texts that no
file can hold. `check_plain` walks a decoded body once and refuses all of that, known key or not;
``messages.decode`` applies it to each message and ``documents.Trust.opened`` to each signed document.
`check` then holds a body against its schema in ``wire.bodies``: which keys must be there, and type, range and
length of every known key, at every level. Unknown keys pass, so that an old reader understands a new writer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import PeerError

MAX_DEPTH = 16
"""Levels of maps and lists, the body itself included."""
MAX_KEY = 256
"""Characters of a key."""
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1
"""What msgpack can carry."""
MAX_COUNT = 2**63 - 1
"""What SQLite can keep: the most of counters and sequence numbers."""


@dataclass(frozen=True, slots=True)
class BodyField:
    """One key of a body.

    ``kind`` is bool, int, float, str, bytes, dict or list. ``least`` and ``most`` bound a number, or the
    length of anything else. ``each`` is what a list's items or a map's values are, ``inside`` a map's known
    keys.
    """

    kind: type
    meaning: str
    required: bool = False
    unit: str = ""
    least: float = -math.inf
    most: float = math.inf
    each: BodyField | None = None
    inside: Mapping[str, BodyField] | None = None


Schema = Mapping[str, BodyField]
_Place = tuple["_Place | None", Any]
"""The key or index of a value, linked to the place of what holds it."""


def check_plain(body: Mapping[Any, Any], what: str) -> None:
    """Check that a decoded body is plain data; ``what`` names it in the message.

    Raises
    ------
    PeerError
        A key is no text or too long, a value is of a type that no body has, an integer is out of msgpack's
        range, a number is not finite, a text is not Unicode, or it is nested too deeply.
    """
    # Places are linked, not spelt, until one is needed: texts of them would outgrow the message by far.
    waiting: list[tuple[Any, _Place | None, int]] = [(body, None, 1)]
    while waiting:
        container, place, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise PeerError(f"{what}: more than {MAX_DEPTH} levels")
        named = type(container) is dict
        for key, value in container.items() if named else enumerate(container):
            if named and (type(key) is not str or len(key) > MAX_KEY or not _unicode(key)):
                found = _short(ascii(key)) if isinstance(key, str) else type(key).__name__
                where = f"{what}: {_spelt(place)}" if place else what
                raise PeerError(f"{where}: a key is {found}, expected text of {MAX_KEY} characters")
            kind = type(value)
            if kind is dict or kind is list:
                waiting.append((value, (place, key), depth + 1))
            elif not _plain(kind, value):
                where = _spelt((place, key))
                raise PeerError(f"{what}: {where}: found {_shown(value)}, which a message cannot carry")


def check(schema: Schema, body: Mapping[str, Any], what: str) -> None:
    """Check a body against its schema; ``what`` names it in the message.

    Raises
    ------
    PeerError
        A required key is missing, or a known key has another type, range or length, at any level.
    """
    _check_map(schema, body, f"{what}: ")


def _check_map(schema: Schema, body: Mapping[str, Any], where: str) -> None:
    for key, field in schema.items():
        if key in body:
            _check_field(field, body[key], f"{where}{key}")
        elif field.required:
            raise PeerError(f"{where}{key} is missing")


def _check_field(field: BodyField, value: Any, where: str) -> None:
    if not _fits(value, field.kind):
        raise PeerError(f"{where} is {type(value).__name__}, expected {field.kind.__name__}")
    bounded = field.least > -math.inf or field.most < math.inf
    if bounded and not field.least <= _measure(value) <= field.most:
        unit = "" if isinstance(value, (int, float)) else " long"
        expected = f"{field.least:.15g} to {field.most:.15g}"
        raise PeerError(f"{where}: found {_short(_measure(value))}{unit}, expected {expected}")
    if field.inside is not None:
        _check_map(field.inside, value, f"{where}.")
    if field.each is not None:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_field(field.each, item, f"{where}.{_short(key)}")


def _plain(kind: type, value: Any) -> bool:
    if kind is str:
        return _unicode(value)
    if kind is int:
        return bool(MIN_INTEGER <= value <= MAX_INTEGER)
    if kind is float:
        return math.isfinite(value)
    return kind is bool or kind is bytes or value is None


def _unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: JSON can hold half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _fits(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _measure(value: Any) -> Any:
    return value if isinstance(value, (int, float)) else len(value)


def _spelt(place: _Place) -> str:
    names: list[str] = []
    here: _Place | None = place
    while here is not None:
        here, key = here
        names.append(_short(key, 40))
    return ".".join(reversed(names))


def _shown(value: Any) -> str:
    if isinstance(value, (int, float)):
        return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else str(value)
    return "a text that is not Unicode" if isinstance(value, str) else type(value).__name__


def _short(value: object, most: int = 80) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}…"
