"""What Dirichlet counts gain from a window of ticks, in float64: pymdp's rules, written to be read.

Theory of operation. Concentrations p of a column gain the expected number of times that each outcome was
seen:

- A: ``pA[o, s] += lr * q_t(s)`` over the joint of the modality's parents; a missing outcome adds nothing;
- B: ``pB[s', s, u] += lr * q_t(s') * q_{t-1}(s)``, consecutive filtered marginals, u the executed action;
- D: ``pD[s] += lr * q_0(s)`` for an agent's first tick.

Then A = pA / sum, B = pB / sum, D = pD / sum over the first axis. Online is a window of each two ticks,
offline one window of all: the counts gained are the same sums, only the beliefs differ by when A and B
change.

Sources: Da Costa et al. 2020, "Active inference on discrete state spaces: a synthesis", section 6; pymdp
1.0.4, ``learning.update_obs_likelihood_dirichlet_m`` and ``update_state_transition_dirichlet_f`` as
``Agent.infer_parameters`` calls them for fixed-point inference; for D pymdp 0.0.7.1,
``learning.update_state_prior_dirichlet``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import Deps

Float = NDArray[np.float64]
EPSILON = float(np.finfo(np.float64).eps)


def outcome_counts(
    shape: tuple[int, ...], deps: Sequence[int], outcomes: NDArray[np.int64], beliefs: Sequence[Float]
) -> Float:
    """Return what pA [O, *states] gains: outcomes [T], below 0 is missing; beliefs [T, S_f] a factor."""
    out = np.zeros(shape)
    for t, outcome in enumerate(outcomes):
        if outcome >= 0:
            out[outcome] += _product([beliefs[f][t] for f in deps])
    return out


def transition_counts(
    shape: tuple[int, ...],
    factor: int,
    deps: Sequence[int],
    executed: NDArray[np.int64],
    beliefs: Sequence[Float],
) -> Float:
    """Return what pB [S, *states, U] gains.

    ``executed`` [T] has the action before each tick, below 0: none; that before the first is not looked at.
    """
    out = np.zeros(shape)
    for t in range(1, len(executed)):
        if executed[t] >= 0:
            before = [beliefs[f][t - 1] for f in deps]
            out[..., executed[t]] += _product([beliefs[factor][t], *before])
    return out


def expected(concentrations: Float) -> Float:
    """Return the expected columns: p / sum over the first axis, p clipped from below at epsilon."""
    clipped = np.maximum(concentrations, EPSILON)
    out: Float = clipped / clipped.sum(axis=0)
    return out


def gained(
    shapes: tuple[Sequence[tuple[int, ...]], Sequence[tuple[int, ...]]],
    A_deps: Deps,
    B_deps: Deps,
    observations: NDArray[np.int64],
    executed: NDArray[np.int64],
    beliefs: Sequence[Float],
) -> tuple[list[Float], list[Float]]:
    """Return what pA and pB gain from a window: observations [T, M], executed [T, F], beliefs [T, S_f]."""
    A = [
        outcome_counts(shape, deps, observations[:, m], beliefs)
        for m, (shape, deps) in enumerate(zip(shapes[0], A_deps, strict=True))
    ]
    B = [
        transition_counts(shape, f, deps, executed[:, f], beliefs)
        for f, (shape, deps) in enumerate(zip(shapes[1], B_deps, strict=True))
    ]
    return A, B


def _product(vectors: Sequence[Float]) -> Float:
    return reduce(np.multiply.outer, vectors)
