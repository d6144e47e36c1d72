"""Reads GMN, a notation for generative models as graphs, in its JSON and its text form.

JSON is ``{"nodes": [{"id", "type", "properties"}], "edges": [{"source", "target", "type"}]}``. Text is::

    [nodes]
    # a comment
    location: state {num_states: 9}
    location_pref: preference {preferred_observation: 4}
    [edges]
    location_pref -> obs_location: depends_on

Properties are JSON whose keys, and values of one word, need no quotes. What a graph means is told by
``gmn_model``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import ModelError

NODE_TYPES = (
    "state",
    "observation",
    "action",
    "likelihood",
    "transition",
    "preference",
    "belief",
    "policy",
)
EDGE_TYPES = ("depends_on", "generates", "influences", "updates", "queries")
MAX_BYTES = 64 * 1024 * 1024
_NODE = re.compile(r"(?P<id>[\w.-]+)\s*:\s*(?P<type>\w+)\s*(?P<properties>\{.*\})?\s*")
_EDGE = re.compile(
    r"(?P<source>[\w.-]+)\s*->\s*(?P<target>[\w.-]+)\s*:\s*(?P<type>\w+)\s*(?P<properties>\{.*\})?\s*"
)
_BARE_KEY = re.compile(r"([{,]\s*)([A-Za-z_]\w*)\s*:")
_BARE_WORD = re.compile(r":\s*(?!true\b|false\b|null\b)([A-Za-z_][\w-]*)\s*(?=[,}])")


@dataclass(frozen=True)
class Node:
    """A node; ``where`` is its place in the file, for messages."""

    id: str
    type: str
    properties: dict[str, Any]
    where: str


@dataclass(frozen=True)
class Edge:
    """An edge between two nodes that exist."""

    source: str
    target: str
    type: str


@dataclass(frozen=True)
class Graph:
    """Nodes by id, in the order of the file, and edges."""

    nodes: dict[str, Node]
    edges: list[Edge]


def read(path: Path) -> Graph:
    """Return the graph in ``path``.

    Raises
    ------
    ModelError
        One line that names the file, the line or key, what was found and what was expected.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ModelError(f"{path}: {path.stat().st_size} bytes, at most {MAX_BYTES} expected of GMN")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    items = list(_json(path, text) if text.lstrip().startswith("{") else _text(path, text))
    nodes: dict[str, Node] = {}
    for item in items:
        if isinstance(item, Node):
            if item.id in nodes:
                raise ModelError(f"{item.where}: node {item.id} stands there twice")
            if item.type not in NODE_TYPES:
                raise ModelError(f"{item.where}: type {item.type!r}, expected one of {', '.join(NODE_TYPES)}")
            nodes[item.id] = item
    edges = [item for item in items if isinstance(item, Edge)]
    for edge in edges:
        for end in (edge.source, edge.target):
            if end not in nodes:
                raise ModelError(f"{path}: edge {edge.source} -> {edge.target}: there is no node {end}")
        if edge.type not in EDGE_TYPES:
            raise ModelError(
                f"{path}: edge {edge.source} -> {edge.target}: type {edge.type!r}, "
                f"expected one of {', '.join(EDGE_TYPES)}"
            )
    return Graph(nodes, edges)


def _json(path: Path, text: str) -> Iterator[Node | Edge]:
    try:
        graph = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON ({error})") from error
    for key in ("nodes", "edges"):
        if not isinstance(graph.get(key), list):
            raise ModelError(f"{path}: {key}: found {type(graph.get(key)).__name__}, expected a list")
    for index, item in enumerate(graph["nodes"]):
        where = f"{path}: nodes[{index}]"
        properties = _strings(where, item, ("id", "type")).get("properties", {})
        if not isinstance(properties, dict):
            raise ModelError(f"{where}: properties: found {type(properties).__name__}, expected an object")
        yield Node(item["id"], item["type"], properties, where)
    for index, item in enumerate(graph["edges"]):
        _strings(f"{path}: edges[{index}]", item, ("source", "target", "type"))
        yield Edge(item["source"], item["target"], item["type"])


def _strings(where: str, item: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise ModelError(f"{where}: found {type(item).__name__}, expected an object")
    for key in keys:
        if not isinstance(item.get(key), str):
            raise ModelError(f"{where}: {key}: found {item.get(key)!r}, expected a string")
    return item


def _text(path: Path, text: str) -> Iterator[Node | Edge]:
    section = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        where = f"{path}: line {number}"
        if not line or line.startswith("#"):
            continue
        if line in ("[nodes]", "[edges]"):
            section = line
        elif section == "[nodes]" and (match := _NODE.fullmatch(line)):
            yield Node(match["id"], match["type"], _properties(where, match["properties"]), where)
        elif section == "[edges]" and (match := _EDGE.fullmatch(line)):
            yield Edge(match["source"], match["target"], match["type"])
        else:
            wanted = {"[nodes]": "'id: type {properties}'", "[edges]": "'source -> target: type'"}
            raise ModelError(f"{where}: found {line[:60]!r}, expected {wanted.get(section, '[nodes]')}")


def _properties(where: str, text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        properties: dict[str, Any] = json.loads(_BARE_WORD.sub(r': "\1"', _BARE_KEY.sub(r'\1"\2":', text)))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: properties {text[:60]!r} cannot be read ({error})") from error
    return properties
