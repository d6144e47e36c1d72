"""The five golden models and the traces of pymdp's agents on them, read with NumPy and the engine alone.

The converter reads the same files, but a process whose memory is measured has no use for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.engine.arrays import ModelArrays, model_arrays

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
MODELS = ("s1_grid5_T1", "s2_grid10_T1", "s2_grid10_T3", "s3_tmaze_T2", "s4_grid10x4_T1")
TICKS = 10


def path_of(name: str) -> Path:
    """Return a golden model's file."""
    return GOLDEN / "models" / f"{name}.npz"


def arrays_of(name: str) -> ModelArrays:
    """Return a golden model as pymdp gave it."""
    with np.load(path_of(name)) as archive:
        found = dict(archive)

    def numbered(prefix: str) -> list[Any]:
        return [found[f"{prefix}_{i}"] for i in range(len(found)) if f"{prefix}_{i}" in found]

    return model_arrays(
        numbered("A"),
        numbered("B"),
        numbered("C"),
        numbered("D"),
        policies=found["policies"],
        A_deps=json.loads(str(found["A_deps"])),
        B_deps=json.loads(str(found["B_deps"])),
        gamma=float(found["gamma"]),
    )


def observations_of(name: str, agents: int) -> np.ndarray:
    """Return ten ticks of the trace for every agent, int64 [10, agents, M], from one of its starts."""
    with np.load(GOLDEN / "traces" / f"{name}.npz") as data:
        trace = data["obs"]
    starts = np.random.default_rng(0).integers(0, len(trace) // TICKS, size=agents) * TICKS
    return np.ascontiguousarray(trace[starts + np.arange(TICKS)[:, np.newaxis]])
