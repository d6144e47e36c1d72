"""Random models of several factors, with parents, and what their agents meet."""

from typing import NamedTuple

import numpy as np
import pytest

from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.model import Model
from edge_agent.engine.precision import Precision

A_DEPS, B_DEPS = ([0, 1], [2], [1]), ([0], [1, 0], [2])
STATES, OUTCOMES, CONTROLS = (4, 3, 6), (5, 3, 2), (3, 2, 1)


class Learned(NamedTuple):
    """A model, its float64 tensors, and its concentrations."""

    model: Model
    A: list[np.ndarray]
    B: list[np.ndarray]
    concentrations: Concentrations


def columns(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.moveaxis(rng.dirichlet(np.full(shape[0], 0.4), size=shape[1:]), -1, 0)


def learned_model(seed: int = 0, bits: int = 8, **options) -> Learned:
    rng = np.random.default_rng(seed)
    A = [columns(rng, o, *(STATES[f] for f in d)) for o, d in zip(OUTCOMES, A_DEPS, strict=True)]
    B = [
        columns(rng, s, *(STATES[f] for f in d), u) for s, d, u in zip(STATES, B_DEPS, CONTROLS, strict=True)
    ]
    C = [rng.normal(size=o) for o in OUTCOMES]
    D = [columns(rng, s) for s in STATES]
    made = Model.from_arrays(A, B, C, D, A_deps=A_DEPS, B_deps=B_DEPS, gamma=4.0)
    made = Model.quantized(made.arrays(), precision=Precision.uniform(made.arrays(), bits))
    pA, pB, pD = ([5 * t + 0.1 for t in tensors] for tensors in (A, B, D))
    return Learned(made, A, B, Concentrations.of(made, pA, pB, pD, **options))


@pytest.fixture
def learned() -> Learned:
    return learned_model()


def readings(rng: np.random.Generator, agents: int, ticks: int) -> np.ndarray:
    """Outcomes int64 [ticks, agents, M], a fifth of them missing."""
    drawn = [rng.integers(0, o, (ticks, agents)) for o in OUTCOMES]
    table = np.stack(drawn, axis=-1)
    return np.where(rng.random(table.shape) < 0.2, -1, table)
