"""A model that switches something off and on by CO2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.engine import Model, golden
from edge_agent.wire import bundle


def write_bundle(
    path: Path, control: str, values: list[str], tick_s: float | None = None, answers: bool = False
) -> None:
    """Write a model that acts with CO2's bin; an action leads from its state to the wanted one, the first.

    With ``answers`` it also observes what the controlled thing says that it does, which tells it nothing.
    """
    count = len(values)
    meta: dict[str, Any] = {
        "modalities": [{"name": "co2", "unit": "ppm", "edges": [600 + 600 * n for n in range(count - 1)]}],
        "controls": [{"name": control, "values": values}],
    }
    likelihoods = [np.full((count, count), 0.01 / (count - 1))]
    np.fill_diagonal(likelihoods[0], 0.99)
    if answers:
        meta["modalities"].append({"name": control, "labels": values})
        likelihoods.append(np.full((count, count), 1.0 / count))
    if tick_s is not None:
        meta["tick_seconds"] = tick_s
    transition = np.full((count, count, count), 0.1 / (count - 1))  # to, from, action
    for now in range(count):
        for action in range(count):
            transition[0 if action == now else action or 1, now, action] = 0.9
    transition /= transition.sum(axis=0)
    wanted = np.zeros(count)
    wanted[0] = 6.0
    wishes = [wanted, np.zeros(count)][: len(likelihoods)]
    model = Model.from_arrays(likelihoods, [transition], wishes, meta=meta, name="office")
    manifest: dict[str, Any] = {"name": "office", "version": "1", "kind": "pomdp", "created": 0}
    manifest |= {"source_sha256": "0" * 64, "io": meta, "memory": {}, "evaluation": {}, "requires": {}}
    bundle.write(path, manifest, model.entries() | {"golden.npz": golden.make(model)})
