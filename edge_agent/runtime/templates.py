"""Texts with fields to be filled in: topics, paths, payloads. Checked once, so that filling can't fail."""

from __future__ import annotations

from collections.abc import Set
from string import Formatter

from edge_agent.errors import ConfigError


def check_fields(template: str, key: str, allowed: Set[str]) -> None:
    """Check that ``template`` has no other fields than ``allowed``; ``key`` is where it stands.

    Raises
    ------
    ConfigError
        It has another field, or is no template.
    """
    try:
        found = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ConfigError(f"{key}: found {template!r}: {error}") from error
    for name in found - allowed:
        expected = ", ".join(f"{{{field}}}" for field in sorted(allowed))
        raise ConfigError(f"{key}: found {{{name}}}, expected {expected}, and {{{{ for a brace")
