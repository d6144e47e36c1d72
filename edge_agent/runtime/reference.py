"""The reference of device.toml, made from its records: ``python -m edge_agent.runtime.reference``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from edge_agent.config.checks import checked_records
from edge_agent.config.profile import Profile
from edge_agent.config.records import Config

SECTIONS = {
    "DeviceConfig": "[device]",
    "BrokerConfig": "[broker]",
    "HubConfig": "[hub]",
    "PeersConfig": "[peers]",
    "ObjectiveConfig": "[[objective]]",
    "RoleConfig": "[[objective.role]]",
    "RecorderConfig": "[recorder]",
    "PopulationConfig": "[[population]]",
    "ObserveConfig": "[[population.observe]]",
    "ActConfig": "[[population.act]]",
    "ShareConfig": "[[population.share]]",
    "ThermalProfile": "[thermal] of a profile",
}


def reference() -> str:
    """Return the reference as Markdown: a table a section, a row a key."""
    checked_records()
    lines = ["# Configuration", "", "Every key of `device.toml` and of board profiles.", ""]
    config, profile = TypeAdapter(Config).json_schema(), TypeAdapter(Profile).json_schema()
    for name, title in SECTIONS.items():
        schema = {**config["$defs"], **profile["$defs"]}[name]
        lines += _section(title, schema)
    lines += _section("A profile", profile)
    return "\n".join(lines)


def _section(title: str, schema: dict[str, Any]) -> Iterator[str]:
    yield from (f"## {title}", "", schema.get("description", "").splitlines()[0], "")
    yield from ("| key | type | default | meaning |", "|---|---|---|---|")
    for key, entry in schema["properties"].items():
        default = "required" if key in schema.get("required", ()) else f"`{entry.get('default')!r}`"
        meaning = " ".join(entry.get("description", "").split()).replace("``", "`").replace("|", "\\|")
        yield f"| `{key}` | {_type(entry)} | {default} | {meaning} |"
    yield ""


def _type(entry: dict[str, Any]) -> str:
    if "enum" in entry:
        return " or ".join(f"`{value}`" for value in entry["enum"])
    if "anyOf" in entry:
        return " or ".join(_type(option) for option in entry["anyOf"])
    if "$ref" in entry:
        return "table"
    bounds = [
        f"{sign} {entry[key]}"
        for key, sign in (
            ("exclusiveMinimum", ">"),
            ("minimum", "≥"),
            ("maximum", "≤"),
        )
        if key in entry
    ]
    return " ".join([str(entry.get("type", "")), ", ".join(bounds)]).strip()


if __name__ == "__main__":
    sys.stdout.write(reference())
