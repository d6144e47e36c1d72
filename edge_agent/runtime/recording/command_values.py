"""Reads the value of a control back out of a command, by the template that made it."""

from __future__ import annotations

import json
from typing import Any

_MARK = "\ue000value\ue000"
_MISSING = object()


def command_value(template: str, payload: bytes, agent: str, index: int) -> str | None:
    """Return the value, as text, that stands in ``payload`` where ``template`` has {value} or {action}.

    A command of somebody else counts as well: a JSON object may be written otherwise and have more keys.

    Returns
    -------
    str or None
        None: the payload is not one of the template's.
    """
    try:
        filled = template.format(value=_MARK, action=_MARK, agent=agent, index=index)
        text = payload.decode("utf-8").strip()
    except (UnicodeDecodeError, ValueError, KeyError, IndexError, AttributeError):
        return None
    pattern = _json(filled)
    if pattern is _MISSING:  # {value} may stand where JSON has a number
        pattern = _json(filled.replace(_MARK, f'"{_MARK}"'))
    if pattern is _MISSING:
        return _between(filled, text)
    document = _json(text)
    if document is _MISSING:
        return _between(filled, text)
    found = _find(pattern, document)
    if found is _MISSING or isinstance(found, dict | list) or found is None:
        return None
    return found if isinstance(found, str) else json.dumps(found)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _MISSING


def _between(filled: str, text: str) -> str | None:
    before, mark, after = filled.partition(_MARK)
    whole = len(text) >= len(before) + len(after)
    if not mark or not whole or not text.startswith(before) or not text.endswith(after):
        return None
    return text[len(before) : len(text) - len(after)] or None


def _find(pattern: Any, document: Any) -> Any:
    """Return what stands where the pattern has its mark; ``_MISSING`` if the rest differs."""
    if isinstance(pattern, str) and _MARK in pattern:
        if pattern == _MARK:
            return document
        found = _between(pattern, document) if isinstance(document, str) else None
        return _MISSING if found is None else found
    if isinstance(pattern, dict) and isinstance(document, dict):
        return _first(_find(value, document.get(key, _MISSING)) for key, value in pattern.items())
    if isinstance(pattern, list) and isinstance(document, list) and len(pattern) == len(document):
        return _first(_find(a, b) for a, b in zip(pattern, document, strict=True))
    return None if pattern == document else _MISSING


def _first(parts: Any) -> Any:
    """Return what one of the parts found (None: a part that is only equal), ``_MISSING`` if one differs."""
    found: Any = None
    for part in parts:
        if part is _MISSING:
            return _MISSING
        found = part if found is None else found
    return found
