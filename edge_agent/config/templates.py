"""Format strings of topics, paths and payloads. They are checked once, so that formatting cannot fail.

They are Python format strings. A number may have a format; its width has at most two digits, since formatting
allocates that many characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from string import Formatter
from typing import Any

from edge_agent.errors import ConfigError

_SPEC = re.compile(r"[<>^]?0?\d{0,2}(\.\d{1,2})?[dfs]?")
_SAMPLES: Mapping[str, tuple[Any, ...]] = {"index": (0,), "action": (0,), "value": (0, 0.5, "on")}
"""What is filled in; population and agent take no format."""


def check_fields(template: str, key: str, allowed: Set[str]) -> None:
    """Check that ``template`` has no other fields than ``allowed``; ``key`` is where it stands.

    Raises
    ------
    ConfigError
        It has another field, or is no template.
    """
    try:
        parts = [(name, spec or "") for _, name, spec, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ConfigError(f"{key}: found {template!r}: {error}") from error
    for name in {name for name, _ in parts} - allowed:
        expected = ", ".join(f"{{{field}}}" for field in sorted(allowed))
        raise ConfigError(f"{key}: found {{{name}}}, expected {expected}, and {{{{ for a brace")
    for name, spec in parts:
        fits = _SPEC.fullmatch(spec) and any(_formats(sample, spec) for sample in _SAMPLES.get(name, ()))
        if spec and not fits:
            raise ConfigError(
                f"{key}: found {{{name}:{spec}}}, expected {{{name}}}, or {{index:03}} of a number"
            )


def _formats(sample: Any, spec: str) -> bool:
    try:
        return bool(format(sample, spec))
    except ValueError:
        return False
