"""The agent of tests and soaks: a fan that airs a room when its air is bad, and its bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.engine import Model, golden
from edge_agent.wire import bundle
from edge_agent.wire.signatures import SecretKey

META: dict[str, Any] = {
    "modalities": [{"name": "co2", "unit": "ppm", "edges": [800]}],
    "controls": [{"name": "fan", "values": ["off", "on"]}],
    "factors": [{"name": "air", "states": ["good", "bad"]}],
}
SEEN = [[0.95, 0.05], [0.05, 0.95]]
NEVER_BAD = [[1.0, 1.0], [0.0, 0.0]]
"""Bad air is never seen, whatever the state: each reading over 800 ppm contradicts the model."""


def model(
    likelihood: list[list[float]] = SEEN, preference: float = 1.0, tick_s: float | None = None
) -> Model:
    """Return the agent: ``likelihood`` (2 readings, 2 states), ``preference`` for good readings in nats, and
    the seconds per tick that it states.
    """
    meta = META if tick_s is None else META | {"tick_seconds": tick_s}
    transition = np.empty((2, 2, 2))  # to, from, fan; state 0 is good air, and the street's is worse
    transition[:, 0, 0], transition[:, 1, 0] = (0.9, 0.1), (0.1, 0.9)
    transition[:, 0, 1], transition[:, 1, 1] = (0.2, 0.8), (0.8, 0.2)
    wanted = [np.array([preference, -preference])]
    return Model.from_arrays([np.array(likelihood)], [transition], wanted, meta=meta, name="fan")


def write(
    path: Path, made: Model, name: str = "fan", key: SecretKey | None = None, tested: Model | None = None
) -> str:
    """Write the bundle of ``made``, golden vectors those of ``tested`` if given; return its digest."""
    manifest: dict[str, Any] = {"name": name, "version": "1", "kind": "pomdp", "created": 0}
    manifest |= {
        "source_sha256": "0" * 64,
        "io": dict(made.meta),
        "memory": {},
        "evaluation": {},
        "requires": {},
    }
    entries = made.entries() | {"golden.npz": golden.make(tested or made)}
    return bundle.write(path, manifest, entries, key)
