"""Models that together cover every part of the kernel: sparse, dense, one factor, several, joint parents."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_agent.engine.arrays import arrays_from_npz
from edge_agent.engine.model import Model

GOLDEN = Path(__file__).parents[1] / "golden" / "models"


def models() -> dict[str, Model]:
    """Return them by name."""
    out = {}
    for name in ("s1_grid5_T1", "s2_grid10_T1", "s3_tmaze_T2", "s4_grid10x4_T1"):
        with np.load(GOLDEN / f"{name}.npz") as data:
            out[name] = Model.quantized(arrays_from_npz(dict(data)))
    generator = np.random.default_rng(1)

    def dense(rows: int, *shape: int) -> np.ndarray:
        return np.moveaxis(generator.dirichlet(np.ones(rows), size=shape), -1, 0)

    A = [dense(7, 6, 5), dense(4, 3), dense(3, 6, 5, 3)]
    B = [dense(6, 6, 3), dense(5, 6, 5, 2), dense(3, 3, 1)]
    deps = {"A_deps": [[0, 1], [2], [0, 1, 2]], "B_deps": [[0], [0, 1], [2]]}
    out["dense"] = Model.from_arrays(A, B, [generator.normal(size=len(a)) for a in A], policy_len=2, **deps)
    one = ([dense(9, 20)], [dense(20, 20, 3)], [generator.normal(size=9)])
    out["dense_one"] = Model.from_arrays(*one, E=[0.5, 0.3, 0.2])
    return out


def observations(model: Model, agents: int, ticks: int = 5) -> np.ndarray:
    """Return outcomes at random, int64 [T, N, M], some missing."""
    generator = np.random.default_rng(3)
    columns = [generator.integers(-1, n, size=(ticks, agents)) for n in model.num_obs]
    return np.stack(columns, axis=-1).astype(np.int64)
