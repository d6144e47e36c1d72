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
from edge_agent.engine.reference import Beliefs
from edge_convert.measure.agent_fidelity import TraceHistory
from edge_convert.measure.decisions import divergence
from edge_convert.measure.oracle import Oracle

STEPS = 12
AGENTS = 2
BELIEFS = "beliefs"
Float = NDArray[np.float64]
_Step = tuple[Beliefs, Float]


class TensorSensitivity(NamedTuple):
    """A tensor (or ``beliefs_f``, of a factor), and what it alone in 8 bits does: posterior KL (nats),
    policy TV.
    """

    tensor: str
    max_kl: float
    mean_policy_tv: float


def rank(source: ModelArrays, model: Model, history: TraceHistory) -> list[TensorSensitivity]:
    """Return all tensors, the most sensitive first, along the first steps of a history."""
    stored, start = model.arrays(), history.head(STEPS, AGENTS)
    wanted = _decide(source, start, None)
    rows = []
    for i, a in enumerate(stored.A):
        mixed = replace(source, A=(*source.A[:i], a, *source.A[i + 1 :]))
        rows.append(_row(f"A_{i}", wanted, _decide(mixed, start, None)))
    for i, b in enumerate(stored.B):
        mixed = replace(source, B=(*source.B[:i], b, *source.B[i + 1 :]))
        rows.append(_row(f"B_{i}", wanted, _decide(mixed, start, None)))
    rows += [_row(f"{BELIEFS}_{f}", wanted, _decide(source, start, f)) for f in range(len(source.B))]
    return sorted(rows, key=lambda row: (-row.max_kl, -row.mean_policy_tv, row.tensor))


def _decide(arrays: ModelArrays, history: TraceHistory, coded: int | None) -> list[_Step]:
    oracle = Oracle(arrays, history.outcomes.shape[1], {} if coded is None else {coded: rounded})
    steps = []
    for t in range(len(history.outcomes)):
        if t in history.restarts:
            oracle.restart()
        steps.append(oracle.step(history.outcomes[t], history.distributions(t)))
        oracle.act(history.executed[t])
    return steps


def rounded(q: Float) -> Float:
    """Return the distributions [N, S] that the codes of ``q`` stand for."""
    return beliefs_from_codes(belief_codes(q))


def _row(name: str, wanted: list[_Step], found: list[_Step]) -> TensorSensitivity:
    kl = [
        float(divergence(p, q).max())
        for (ours, _), (theirs, _) in zip(wanted, found, strict=True)
        for p, q in zip(ours, theirs, strict=True)
    ]
    tv = [np.abs(p - q).sum(axis=-1).mean() / 2 for (_, p), (_, q) in zip(wanted, found, strict=True)]
    return TensorSensitivity(name, max(kl), float(np.mean(tv)))
