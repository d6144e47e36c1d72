"""Models of many factors, drawn at random but always the same, and what their agents observe.

The golden models have one or two factors. Here modalities look at up to three of six or eight factors, or at
up to six of seven; two factors have controls. Observations come from a world that is drawn from the model and
follows the agents' own actions: random ones would contradict the model, which costs agents more than a step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population


class Drawn(NamedTuple):
    """Counts of a model, the most parents of a modality, and the seed that it is drawn with."""

    factors: int
    modalities: int
    parents: int
    seed: int


MODELS = {
    "factors_6x12": Drawn(6, 12, 3, 1),
    "factors_8x16": Drawn(8, 16, 3, 2),
    "six_parents": Drawn(7, 6, 6, 5),
}


def arrays_of(name: str) -> ModelArrays:
    """Return a model; policies are one step long."""
    drawn = MODELS[name]
    r = np.random.default_rng(drawn.seed)
    states = [int(n) for n in r.integers(3, 9, drawn.factors)]
    controls = [3, 3] + [1] * (drawn.factors - 2)
    A_deps = []
    for _ in range(drawn.modalities):
        parents = int(r.integers(1, drawn.parents + 1))
        A_deps.append(sorted(r.choice(drawn.factors, size=parents, replace=False).tolist()))
    outcomes = [int(n) for n in r.integers(3, 8, drawn.modalities)]
    A = [
        np.moveaxis(r.dirichlet(np.full(n, 0.3), size=[states[f] for f in deps]), -1, 0)
        for deps, n in zip(A_deps, outcomes, strict=True)
    ]
    B = [
        np.moveaxis(r.dirichlet(np.full(n, 0.2), size=(n, u)), -1, 0)
        for n, u in zip(states, controls, strict=True)
    ]
    return model_arrays(
        A,
        B,
        [r.normal(size=n) for n in outcomes],
        [np.full(n, 1 / n) for n in states],
        A_deps=A_deps,
        B_deps=[[f] for f in range(drawn.factors)],
        policy_len=1,
        gamma=2.0,
    )


def observations_of(
    arrays: ModelArrays, model: Model, agents: int, ticks: int, seed: int = 0
) -> NDArray[np.int64]:
    """Return what ``agents`` observe, int64 [ticks, agents, M], while they act as the model says."""
    r = np.random.default_rng(seed)
    population = Population(model, agents)
    states = [_drawn(r, np.tile(d, (agents, 1))) for d in arrays.D]
    out = np.zeros((ticks, agents, len(arrays.A)), np.int64)
    for tick in out:
        for m, (a, deps) in enumerate(zip(arrays.A, arrays.A_deps, strict=True)):
            columns = np.moveaxis(np.asarray(a), 0, -1)
            tick[:, m] = _drawn(r, columns[tuple(states[d] for d in deps)])
        actions = population.step(tick)
        states = [_drawn(r, np.asarray(b)[:, states[f], actions[:, f]].T) for f, b in enumerate(arrays.B)]
    return out


def _drawn(r: np.random.Generator, shares: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return an index a row, drawn with the row's shares."""
    bounds = shares.cumsum(axis=1)
    return np.asarray((r.random((len(shares), 1)) * bounds[:, -1:] >= bounds).sum(axis=1))


def write(arrays: ModelArrays, path: Path) -> None:
    """Write a model as the golden ones are written, for programs that know NumPy alone."""
    series: dict[str, tuple[Any, ...]] = {"A": arrays.A, "B": arrays.B, "C": arrays.C, "D": arrays.D}
    entries: dict[str, Any] = {
        f"{letter}_{i}": np.asarray(x) for letter, xs in series.items() for i, x in enumerate(xs)
    }
    entries |= {"A_deps": json.dumps(arrays.A_deps), "B_deps": json.dumps(arrays.B_deps)}
    np.savez(path, policies=arrays.policies, gamma=arrays.options.gamma, **entries)
