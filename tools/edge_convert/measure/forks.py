"""Whether fixed-point iteration forks: several fixed points, of which rounded weights choose another one.

Theory of operation. With several factors, pymdp's iteration ends at one of several fixed points, and which
one may hang on the last digits of a weight: then no number of bits is enough. It is looked for without the
kernel: float64 beliefs with the source's weights against float64 beliefs with the same weights rounded to
half precision (eleven significant bits), along the same history, both from the same belief at each step.
"exact" inference has one answer; the same comparison is made for it where iteration forks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.sparse import Sparse, Weights
from edge_convert.measure.agent_fidelity import TraceHistory
from edge_convert.measure.decisions import divergence
from edge_convert.measure.oracle import Oracle

EXACT_STEPS, EXACT_AGENTS = 12, 2  # the reference sums whole tables
APART = 0.1  # nats: many times what rounding weights does to a belief that has one fixed point


class Forks(NamedTuple):
    """Steps that were looked at, steps that fork, the largest KL, and the largest KL under exact
    inference.
    """

    steps: int
    forked: int
    max_kl: float
    exact_kl: float | None

    def words(self) -> str:
        """Return what the user is told."""
        said = (
            f"fixed-point iteration forks at {self.forked} of {self.steps} steps "
            f"(KL up to {self.max_kl:.3g} from rounding weights alone, in float64)"
        )
        if self.exact_kl is None:
            return said
        return f"{said}; --inference exact has one answer, KL up to {self.exact_kl:.3g} there"


def look(source: ModelArrays, histories: Sequence[TraceHistory]) -> Forks | None:
    """Return the forks along ``histories``; None where the model's inference cannot fork, or does not."""
    if len(source.B) == 1 or source.options.inference_algo != "fpi":
        return None
    stored = _rounded(source)
    kl = np.concatenate([_apart(source, stored, history).ravel() for history in histories])
    forked = int((kl > APART).sum())
    if not forked:
        return None
    begun = [history.head(EXACT_STEPS, EXACT_AGENTS) for history in histories]
    exact = [_apart(_exact(source), _exact(stored), history).max() for history in begun]
    return Forks(kl.size, forked, float(kl.max()), float(max(exact)))


def _rounded(model: ModelArrays) -> ModelArrays:
    """Return the model with A and B in half precision, their columns normalised."""

    def half(tensor: Weights) -> Weights:
        if isinstance(tensor, Sparse):
            return tensor.mapped(tensor.values.astype(np.float16).astype(np.float64), tensor.background)
        rounded = tensor.astype(np.float16).astype(np.float64)
        return np.asarray(rounded / rounded.sum(axis=0))

    return replace(model, A=tuple(map(half, model.A)), B=tuple(map(half, model.B)))


def _exact(model: ModelArrays) -> ModelArrays:
    return replace(model, options=replace(model.options, inference_algo="exact"))


def _apart(source: ModelArrays, stored: ModelArrays, history: TraceHistory) -> NDArray[np.float64]:
    """Return the largest KL of a factor [T, N]; both go on from the source's belief."""
    ticks, size = history.outcomes.shape[:2]
    ours, theirs = Oracle(source, size), Oracle(stored, size)
    found = np.empty((ticks, size))
    for t in range(ticks):
        if t in history.restarts:
            ours.restart()
            theirs.restart()
        outcomes, soft = history.outcomes[t], history.distributions(t)
        pairs = zip(ours.infer(outcomes, soft), theirs.infer(outcomes, soft), strict=True)
        found[t] = np.max([divergence(p, q) for p, q in pairs], axis=0)
        theirs.follow(ours)
        ours.act(history.executed[t])
        theirs.act(history.executed[t])
    return found
