"""Models that together cover every part of the kernel: sparse, dense, one factor, several, joint parents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_agent.engine.arrays import model_arrays
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.counts.recode import recoded
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.precision import Precision
from edge_convert.readers import pymdp_npz

GOLDEN = Path(__file__).parents[1] / "golden" / "models"


def models() -> dict[str, Model]:
    """Return them by name."""
    out = {}
    for name in ("s1_grid5_T1", "s2_grid10_T1", "s3_tmaze_T2", "s4_grid10x4_T1"):
        out[name] = Model.quantized(pymdp_npz.read(GOLDEN / f"{name}.npz").arrays)
    generator = np.random.default_rng(1)

    def dense(rows: int, *shape: int) -> np.ndarray:
        return np.moveaxis(generator.dirichlet(np.ones(rows), size=shape), -1, 0)

    A = [dense(7, 6, 5), dense(4, 3), dense(3, 6, 5, 3)]
    B = [dense(6, 6, 3), dense(5, 6, 5, 2), dense(3, 3, 1)]
    deps = {"A_deps": [[0, 1], [2], [0, 1, 2]], "B_deps": [[0], [0, 1], [2]]}
    out["dense"] = Model.from_arrays(A, B, [generator.normal(size=len(a)) for a in A], policy_len=2, **deps)
    sparse = np.where(generator.random((2, 5, 4, 3, 2)) < 0.1, 0.9, 0.05)
    A = [dense(4, 5, 4, 3), dense(3, 5, 4, 3), dense(2, 4, 3), sparse / sparse.sum(axis=0), dense(4, 3, 2)]
    B = [dense(5, 5, 3), dense(4, 4, 2), dense(3, 3, 1), dense(2, 2, 1)]
    deps = {"A_deps": [[0, 1, 2], [0, 1, 2], [1, 2], [0, 1, 2, 3], [2, 3]]}
    out["many_factors"] = Model.from_arrays(A, B, [generator.normal(size=len(a)) for a in A], **deps)
    one = ([dense(9, 20)], [dense(20, 20, 3)], [generator.normal(size=9)])
    out["dense_one"] = Model.from_arrays(*one, E=[0.5, 0.3, 0.2])
    both = ([dense(37, 45), dense(10, 45)], [dense(45, 45, 3)], [generator.normal(size=n) for n in (37, 10)])
    out["dense_products"] = Model.from_arrays(*both, policy_len=2)
    steps = np.stack([np.roll(np.eye(30), u, axis=0) for u in range(4)], axis=-1)  # equal rows under each
    out["shared_rows"] = Model.from_arrays([np.eye(30) * 0.9 + 0.1 / 30], [steps], policy_len=2)
    joint = ([dense(30, 12, 3)], [dense(12, 12, 3, 2), dense(3, 3, 2)], [generator.normal(size=30)])
    deps = {"A_deps": [[0, 1]], "B_deps": [[0, 1], [1]]}
    out["dense_parents"] = Model.from_arrays(*joint, policy_len=2, **deps)
    for name in ("s2_grid10_T1", "s4_grid10x4_T1"):
        out[f"{name}_learned"] = _learned(out[name])
    return out | _optional()


def _learned(model: Model) -> Model:
    """Return the model over a base, as many agents would have learned it."""
    generator = np.random.default_rng(5)
    arrays = model.arrays()
    pA, pB = (
        [10 * np.asarray(t) + generator.uniform(0, 0.02, np.shape(t)) for t in tensors]
        for tensors in (arrays.A, arrays.B)
    )
    out = recoded(model, Concentrations.of(model, pA, pB), 1000)
    assert all(len(tensor.base) for tensor in (*out.A, *out.B))
    return out


def _optional() -> dict[str, Model]:
    """Return models of other options: sixteen bits, terms of planning, draws, resets, exact inference."""
    generator = np.random.default_rng(2)

    def columns(rows: int, *shape: int) -> np.ndarray:
        return np.moveaxis(generator.dirichlet(np.full(rows, 0.1), size=shape), -1, 0)

    states = [5, 4, 3]
    A = [columns(6, 5, 4), columns(3, 4, 3), np.eye(5), columns(2, 5, 4, 3)]
    B = [columns(n, n, 2) for n in states]
    tables = {
        "A_deps": [[0, 1], [1, 2], [0], [0, 1, 2]],
        "pA": A,
        "pB": B,
        "H": [np.eye(n)[1] for n in states],
    }
    wanted = {
        "terms": (
            AgentOptions("marginal", use_param_info_gain=True, use_inductive=True, inductive_depth=3),
            8,
        ),
        "drawn": (AgentOptions("full", "stochastic", alpha=2.0, on_contradiction="reset"), 16),
        "exact": (AgentOptions("marginal", "stochastic", inference_algo="exact"), 8),
        "exact_reset": (AgentOptions(inference_algo="exact", on_contradiction="reset"), 16),
    }
    preferences = [generator.normal(size=len(a)) for a in A]
    out = {}
    for name, (options, bits) in wanted.items():
        arrays = model_arrays(A, B, preferences, options=options, **tables)
        out[name] = Model.quantized(arrays, precision=Precision.uniform(arrays, bits))
    search = AgentOptions(
        sophisticated=True,
        gamma=2.0,
        si_horizon=3,
        si_max_nodes=200,
        si_observation_prune_threshold=0.02,
        si_entropy_stop_threshold=0.0,
    )
    deps = tables["A_deps"]
    out["sophisticated"] = Model.from_arrays(A, B, preferences, options=search, A_deps=deps)
    one = [columns(9, 20), columns(7, 20)], [columns(20, 20, 3)]
    out["sophisticated_one"] = Model.from_arrays(
        *one, [generator.normal(size=n) for n in (9, 7)], options=search
    )
    parents = {"A_deps": deps, "B_deps": [[0, 2], [1], [2]]}
    joint = [columns(5, 5, 3, 2), *B[1:]]
    for algorithm in ("mmp", "vmp"):
        window = AgentOptions(inference_algo=algorithm, inference_horizon=3, num_iter=4)
        out[algorithm] = Model.from_arrays(A, joint, preferences, options=window, **parents)
    grid = pymdp_npz.read(GOLDEN / "s1_grid5_T1.npz").arrays
    over = replace(grid.options, inference_algo="mmp", inference_horizon=4, on_contradiction="keep")
    out["mmp_one"] = Model.quantized(replace(grid, options=over))
    sure = model_arrays([np.eye(6)] * 2, [columns(6, 6, 2)], options=AgentOptions(on_contradiction="reset"))
    out["contradicted_one"] = Model.quantized(sure, precision=Precision.uniform(sure, 16))
    return out


def observations(model: Model, agents: int, ticks: int = 5) -> np.ndarray:
    """Return outcomes at random, int64 [T, N, M], some missing."""
    generator = np.random.default_rng(3)
    columns = [generator.integers(-1, n, size=(ticks, agents)) for n in model.num_obs]
    return np.stack(columns, axis=-1).astype(np.int64)
