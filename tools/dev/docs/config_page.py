"""docs/reference/config.md: every key of device.toml and of board profiles, and the shipped profiles.

Generated from the records of the daemon through pydantic's JSON schema: names, types, bounds, defaults and
the text of each key.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from page_text import inline, sentence, table
from pydantic import TypeAdapter

from edge_agent.config import checks, profile, records

ROOT = Path(__file__).parents[3]
HEAD = """\
# Configuration

The daemon reads one TOML file. Paths in it are relative to the file. `edge-agent check --config
device.toml` says whether it is right, down to the key, and what it will need in memory; a key that is
not listed here is an error. On SIGHUP (`systemctl reload edge-agent`) a running daemon reads it again; a
file that is wrong changes nothing.
"""
PROFILES = """\
## Board profiles

`device.profile` names one of the profiles below, or a TOML file of one's own with these keys:
"""
SHIPPED = """\
### Shipped profiles

What the daemon allows itself there. The temperatures come from the boards' documentation; the files name it.
"""
_BOUNDS = {"minimum": "≥ ", "exclusiveMinimum": "> ", "maximum": "≤ ", "exclusiveMaximum": "< "}
_LENGTHS = {"minLength": "≥ ", "maxLength": "≤ "}


def page() -> str:
    """Return the page."""
    checks.checked_records()
    lines = [HEAD]
    lines += sections(TypeAdapter(records.Config).json_schema(), "", "##")
    lines += [PROFILES]
    lines += sections(TypeAdapter(profile.Profile).json_schema(), "", "###")
    lines += [SHIPPED, *_shipped()]
    return "\n".join(lines).rstrip() + "\n"


def sections(root: dict[str, Any], path: str, level: str) -> Iterator[str]:
    """Yield the lines of a table and, after it, of the tables in it."""
    rows, inner = [], []
    needed = root.get("required", [])
    for key, node in root["properties"].items():
        node = _one(node)
        if _table_of(root, node) is not None:
            inner.append((key, node))
        else:
            rows.append(
                [f"`{key}`", _kind(node), _default(key, node, needed), inline(node.get("description", ""))]
            )
    if rows and not path and inner:
        yield from ["Keys at the top of the file, before any table:", ""]
    if rows:
        yield from table(["key", "type", "default", "meaning"], rows)
    for key, node in inner:
        record, many = _table_of(root, node) or ({}, False)
        full = f"{path}.{key}" if path else key
        yield from [f"{level} `{'[[' if many else '['}{full}{']]' if many else ']'}`", ""]
        yield from [sentence(inline(record.get("description", ""))), ""]
        yield from sections(record | {"$defs": root.get("$defs", {})}, full, level)


def _one(node: dict[str, Any]) -> dict[str, Any]:
    """Return what a key may be besides absent."""
    kinds = [kind for kind in node.get("anyOf", []) if kind.get("type") != "null"]
    return node | kinds[0] if len(kinds) == 1 else node


def _table_of(root: dict[str, Any], node: dict[str, Any]) -> tuple[dict[str, Any], bool] | None:
    """Return the record that a key holds, and whether it holds a list of them."""
    reference = node.get("$ref") or node.get("items", {}).get("$ref")
    if reference is None:
        return None
    return root["$defs"][reference.rpartition("/")[2]], "items" in node


def _kind(node: dict[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(_kind(kind) for kind in node["anyOf"] if kind.get("type") != "null")
    if "enum" in node:
        return ", ".join(f"`{json.dumps(value)}`" for value in node["enum"])
    if "prefixItems" in node:
        return f"list of {len(node['prefixItems'])}: {', '.join(_kind(item) for item in node['prefixItems'])}"
    if "items" in node:
        return f"list of {_kind(node['items'])}"
    if node.get("additionalProperties") is True:
        return "table"
    if "additionalProperties" in node:
        return f"table of name = {_kind(node['additionalProperties'])}"
    word = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    bounds = [
        f"{sign}{node[key]:,}".removesuffix(".0")
        for key, sign in _BOUNDS.items()
        if node.get(key, 2**53) < 2**53
    ]
    lengths = [f"{sign}{node[key]}" for key, sign in _LENGTHS.items() if node.get(key, 1) > 1]
    text = f" of {lengths[0]} characters" if lengths else ""
    return word[node["type"]] + text + (f" {', '.join(bounds)}" if bounds else "")


def _default(key: str, node: dict[str, Any], needed: list[str]) -> str:
    if key in needed:
        return "required"
    value = node.get("default")
    return "" if value is None or value in ([], {}) else f"`{json.dumps(value)}`"


def _shipped() -> Iterator[str]:
    rows = []
    for path in sorted((ROOT / "firmware_profiles").glob("*.toml")):
        board = tomllib.loads(path.read_text("utf-8"))
        thermal = " / ".join(f"{board['thermal'][key]:g}" for key in ("warm_c", "hot_c", "limit_c"))
        numbers = [f"{board[key]:g}" for key in ("memory_mb", "cores", "threads", "max_rate_hz")]
        rows.append([f"`{path.stem}`", board["board"], *numbers, thermal])
    header = ["profile", "board", "memory_mb", "cores", "threads", "max_rate_hz", "warm / hot / limit, °C"]
    return iter(table(header, rows))
