"""GMN, in text and in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

from edge_convert.readers import gmn_model
from tests.fuzz.files import written

TEXT = b"""\
[nodes]
at: state {num_states: 3}
seen: observation {num_observations: 3}
move: action {num_actions: 2}
eyes: likelihood {matrix: [[0.8, 0.1, 0], [0.2, 0.8, 0.5], [0, 0.1, 0.5]]}
legs: transition
home: preference {preferred_observation: 2}
start: belief {vector: [1, 0, 0]}
plans: policy {policy_len: 2, gamma: 4.0}
[edges]
at -> eyes: depends_on
eyes -> seen: generates
at -> legs: depends_on
move -> legs: depends_on
home -> seen: depends_on
start -> at: depends_on
"""
GRAPH = {
    "nodes": [
        {"id": "a", "type": "state", "properties": {"num_states": 2}},
        {"id": "b", "type": "state", "properties": {"num_states": 2}},
        {"id": "o", "type": "observation", "properties": {"num_observations": 2}},
        {"id": "u", "type": "action", "properties": {"num_actions": 2}},
        {"id": "l", "type": "likelihood", "properties": {"matrix": [[0.9, 0.1], [0.1, 0.9]]}},
        {"id": "c", "type": "preference", "properties": {"vector": [0, 1]}},
    ],
    "edges": [
        {"source": "l", "target": "o", "type": "generates"},
        {"source": "a", "target": "l", "type": "depends_on"},
        {"source": "u", "target": "b", "type": "influences"},
    ],
}


def decode(data: bytes) -> None:
    """Read a model."""
    with written(data, "fuzzed.gmn") as path:
        gmn_model.read(path)


def seed() -> bytes:
    """Return one input that is right."""
    return TEXT


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield TEXT
    yield json.dumps(GRAPH).encode()
