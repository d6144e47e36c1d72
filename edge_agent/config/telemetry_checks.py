"""Checks of ``telemetry`` that involve several keys; see ``config.checks``. Names of a model's modalities,
states and controls are looked up when the bundle is loaded (``runtime.reporting.sample_plan``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.config.templates import check_fields
from edge_agent.errors import ConfigError
from edge_agent.wire.topics import topic_fault

_PLACES = {"agent", "index", "population"}
_KINDS = ("readings", "beliefs", "actions", "figures", "figure")


def resolve_telemetry(document: Mapping[str, Any], base: Path) -> None:
    """Make the paths of ``telemetry.figure`` absolute."""
    for entry in document["telemetry"]:
        for figure in entry["figure"]:
            if figure["path"]:
                figure["path"] = str(base / figure["path"])


def check_telemetry(document: Mapping[str, Any]) -> None:
    """Check what the sections say together.

    Raises
    ------
    ConfigError
        Names the key, what was found and what was expected.
    """
    names = [population["name"] for population in document["population"]]
    for number, entry in enumerate(document["telemetry"]):
        key = f"telemetry[{number}]"
        if document["broker"] is None:
            raise ConfigError("broker: missing, expected where there is telemetry")
        if entry["population"] not in names:
            expected = ", ".join(names)
            raise ConfigError(f"{key}.population: found {entry['population']!r}, expected one of {expected}")
        if not any(entry[kind] for kind in _KINDS):
            raise ConfigError(f"{key}: found nothing to send, expected one of {', '.join(_KINDS)}")
        for place, belief in enumerate(entry["beliefs"]):
            if not all(belief.partition("=")):
                raise ConfigError(f"{key}.beliefs[{place}]: found {belief!r}, expected FACTOR=STATE")
        for place, figure in enumerate(entry["figure"]):
            _check_figure(figure, f"{key}.figure[{place}]")


def _check_figure(figure: Mapping[str, Any], key: str) -> None:
    if bool(figure["path"]) == bool(figure["topic"]):
        found = "both" if figure["path"] else "neither"
        raise ConfigError(f"{key}: found {found} of path and topic, expected one of them")
    if figure["pointer"] and not (figure["topic"] and figure["pointer"].startswith("/")):
        raise ConfigError(
            f"{key}.pointer: found {figure['pointer']!r}, expected it to begin with '/', and a topic"
        )
    check_fields(figure["path"], f"{key}.path", _PLACES)
    check_fields(figure["topic"], f"{key}.topic", _PLACES)
    if figure["topic"] and topic_fault(figure["topic"]):
        raise ConfigError(f"{key}.topic: found {figure['topic']!r}, expected a topic without '+' and '#'")
