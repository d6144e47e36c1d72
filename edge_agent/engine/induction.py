"""Inductive planning: from which states a goal can be reached, and what it costs to be elsewhere.

Theory of operation. ``I[f]`` [depth, S_f] is 1 where the goal of factor ``f`` is at most so many steps away,
by transitions of more than a threshold under some control (row 0: the goal itself). The most probable state
of the agent is first found in row n; the states of row m = max(n - 1, 0) are one step nearer, and each of the
others has the value ln epsilon in the expected free energy, for every step of a policy. Where the goal cannot
be reached, or none is given, nothing is added.

Source: pymdp 1.0.4, ``control.generate_I_matrix`` and ``calc_inductive_value_t``; Friston et al. 2023,
"Active inference and intentional behaviour".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.options import AgentOptions
from edge_agent.engine.sparse import Sparse, Weights
from edge_agent.errors import ModelError

Float = NDArray[np.float64]

EPSILON = float(np.finfo(np.float64).eps)
UNREACHABLE = 65_535
"""Of ``nearer``: no row has the state."""


def reachability(
    goals: Sequence[Float], B: Sequence[Weights], B_deps: Sequence[Sequence[int]], options: AgentOptions
) -> tuple[Float, ...]:
    """Return I [depth, S_f] a factor, for goals [S_f] of 0 and 1.

    Raises
    ------
    ModelError
        A factor depends on others: pymdp defines induction for factors of their own.
    """
    out = []
    for f, (goal, b, deps) in enumerate(zip(goals, B, B_deps, strict=True)):
        if tuple(deps) != (f,):
            raise ModelError(f"H_{f}: B_deps[{f}] is {list(deps)}, expected [{f}] for inductive planning")
        after, before = _ways(b, options.inductive_threshold)
        rows: list[Float] = [goal]
        for _ in range(options.inductive_depth - 1):
            reached = np.zeros(len(goal))
            reached[before[rows[-1][after] > 0]] = 1.0
            rows.append(reached)
        out.append(np.stack(rows))
    return tuple(out)


def _ways(b: Weights, threshold: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the pairs (next state, state) that some control joins with more than ``threshold``.

    In float32, as pymdp compares: a probability that equals the threshold does not count.
    """
    if isinstance(b, Sparse) and b.background <= threshold:
        likely = b.values.astype(np.float32) > np.float32(threshold)
        return b.rows[likely], b.columns[likely] // b.shape[-1]
    tensor = b.dense() if isinstance(b, Sparse) else b
    after, before = np.nonzero((tensor.astype(np.float32) > np.float32(threshold)).any(axis=-1))
    return after, before


def nearer(ways: NDArray[np.uint8] | Float) -> NDArray[np.uint16]:
    """Return, for each state, the row whose states are one step nearer to the goal; UNREACHABLE for none."""
    found = ways > 0
    first = found.argmax(axis=0)
    out: NDArray[np.uint16] = np.where(found.any(axis=0), np.maximum(first - 1, 0), UNREACHABLE).astype(
        np.uint16
    )
    return out


def penalty(ways: Float, state: int, epsilon: float) -> Float:
    """Return the value [S_f] of being in each state next, for an agent that is most probably in ``state``."""
    row = int(nearer(ways)[state])
    if row == UNREACHABLE:
        return np.zeros(ways.shape[1])
    out: Float = (1.0 - ways[row]) * math.log(max(epsilon, EPSILON))
    return out
