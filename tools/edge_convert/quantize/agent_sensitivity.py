"""Which tensors of an agent bear 8 bits: each alone in 8 bits inside the float64 reference, beliefs too.

The reference runs along a history once with the source's tensors and once a tensor with that one replaced by
what its codes stand for. What is left, rounding beliefs to codes after every update, is a row of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import Model
from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.quantize import belief_codes, beliefs_from_codes
from edge_agent.engine.reference import Decision
from edge_convert.measure.agent_fidelity import TraceHistory, divergence
from edge_convert.measure.oracle import Oracle

STEPS = 12
AGENTS = 2
BELIEFS = "beliefs"


class TensorSensitivity(NamedTuple):
    """A tensor (or ``beliefs``), and what it alone in 8 bits does: posterior KL (nats), policy TV."""

    tensor: str
    max_kl: float
    mean_policy_tv: float


def rank(source: ModelArrays, model: Model, history: TraceHistory) -> list[TensorSensitivity]:
    """Return all tensors, the most sensitive first, along the first steps of a history."""
    stored = model.arrays()
    wanted = _decide(source, history, False)
    rows = []
    for i, a in enumerate(stored.A):
        mixed = replace(source, A=(*source.A[:i], a, *source.A[i + 1 :]))
        rows.append(_row(f"A_{i}", wanted, _decide(mixed, history, False)))
    for i, b in enumerate(stored.B):
        mixed = replace(source, B=(*source.B[:i], b, *source.B[i + 1 :]))
        rows.append(_row(f"B_{i}", wanted, _decide(mixed, history, False)))
    rows.append(_row(BELIEFS, wanted, _decide(source, history, True)))
    return sorted(rows, key=lambda row: (-row.max_kl, -row.mean_policy_tv, row.tensor))


def _decide(arrays: ModelArrays, history: TraceHistory, coded: bool) -> list[Decision]:
    decisions = []
    for n in range(min(AGENTS, history.outcomes.shape[1])):
        oracle = Oracle(arrays, rounded if coded else None)
        steps = zip(history.outcomes[:STEPS, n], history.executed[:STEPS, n], strict=True)
        for t, (outcome, action) in enumerate(steps):
            if t in history.restarts:
                oracle.restart()
            decisions.append(oracle.step(outcome.tolist()))
            oracle.act(action.tolist())
    return decisions


def rounded(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distribution [S] that the codes of ``q`` stand for."""
    return beliefs_from_codes(belief_codes(q))


def _row(name: str, wanted: list[Decision], found: list[Decision]) -> TensorSensitivity:
    kl = [
        divergence(p, q) for a, b in zip(wanted, found, strict=True) for p, q in zip(a.qs, b.qs, strict=True)
    ]
    tv = [float(np.abs(a.q_pi - b.q_pi).sum() / 2) for a, b in zip(wanted, found, strict=True)]
    return TensorSensitivity(name, max(kl), float(np.mean(tv)))
