"""Float64 agents for N rooms at once, as pymdp would run them: the reference for the 8-bit agents.

Every modality of this model depends on one factor and every factor on itself alone. So the posterior of the
factors given the readings is a product, and one pass of Bayes' rule gives what fixed-point iteration
converges to. Policies are evaluated by their negative expected free energy, expected log-preference plus
expected information about states, with pymdp's sign; they are few and share their first steps, so each
prefix is evaluated once.

Source: Friston et al., Neural Computation 29 (2017) 1-49; pymdp 1.0.4 (``inferactively-pymdp``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Probabilities are clipped here before a logarithm, as pymdp does: what a model calls impossible can still be
# observed.
EPSILON = float(np.finfo(np.float64).eps)


def digitize(meta: dict[str, Any], observations: FloatArray) -> IntArray:
    """Turn physical observations into the model's bins.

    Parameters
    ----------
    meta : dict
        The model's; modality i takes column i.
    observations : float64 array (N, K)
        K may be smaller than the number of modalities: the rest is not observed, and neither is NaN.

    Returns
    -------
    int64 array (N, M)
        Bins, -1 where not observed.
    """
    bins = np.full((len(observations), len(meta["modalities"])), -1, np.int64)
    for i, column in enumerate(observations.T):
        found = np.searchsorted(meta["modalities"][i]["edges"], column, side="right")
        bins[:, i] = np.where(np.isnan(column), -1, found)
    return bins


def load(path: Path) -> dict[str, Any]:
    """Read the npz file of a model; JSON entries come back parsed."""
    with np.load(path) as file:
        arrays: dict[str, Any] = {key: file[key] for key in file.files}
    for key in ("A_deps", "B_deps", "meta"):
        arrays[key] = json.loads(str(arrays[key]))
    return arrays


class FloatAgents:
    """``size`` agents that share a model.

    Parameters
    ----------
    arrays : dict
        As ``load`` gives them. Every entry of ``A_deps`` and ``B_deps`` names one factor.
    size : int

    Attributes
    ----------
    beliefs : list of float64 (N, S_f)
    neg_efe : float64 (N, P)
        Negative expected free energy of each policy, at the last decision.
    policy_posterior : float64 (N, P)
    """

    def __init__(self, arrays: dict[str, Any], size: int) -> None:
        self.meta: dict[str, Any] = arrays["meta"]
        self._factor: list[int] = [only for (only,) in arrays["A_deps"]]
        self._A: list[FloatArray] = [arrays[f"A_{i}"] for i in range(len(self._factor))]
        self._C: list[FloatArray] = [arrays[f"C_{i}"] for i in range(len(self._factor))]
        self._B: list[FloatArray] = [arrays[f"B_{f}"] for f in range(len(arrays["B_deps"]))]
        self._ambiguity = [-(a * np.log(np.maximum(a, EPSILON))).sum(axis=0) for a in self._A]
        self._policies: IntArray = arrays["policies"]
        self._gamma = float(arrays["gamma"])
        # Before the first reading the beliefs are the prior D itself: no transition leads there.
        self._prior = [np.tile(arrays[f"D_{f}"], (size, 1)) for f in range(len(self._B))]
        self.beliefs = self._prior
        self.neg_efe: FloatArray = np.zeros((size, len(self._policies)))
        self.policy_posterior: FloatArray = np.zeros_like(self.neg_efe)

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """See ``controllers.Controller``. The level is the first action of the likeliest policy."""
        return self.step(digitize(self.meta, observations))[:, 0]

    def step(self, bins: IntArray) -> IntArray:
        """Update beliefs with bins, int (N, M), -1 not observed; return actions, int64 (N, F)."""
        beliefs = [np.maximum(prior, EPSILON) for prior in self._prior]
        for i, f in enumerate(self._factor):
            seen = bins[:, i] >= 0
            beliefs[f][seen] *= np.maximum(self._A[i][bins[seen, i]], EPSILON)
        self.beliefs = [belief / belief.sum(axis=1, keepdims=True) for belief in beliefs]
        self._judge(self.beliefs, (), np.zeros(len(bins)))
        weight = np.exp(self._gamma * (self.neg_efe - self.neg_efe.max(axis=1, keepdims=True)))
        self.policy_posterior = weight / weight.sum(axis=1, keepdims=True)
        action: IntArray = self._policies[self.policy_posterior.argmax(axis=1), 0]
        self._prior = [
            np.einsum("stn,nt->ns", self._B[f][:, :, action[:, f]], self.beliefs[f])
            for f in range(len(self._B))
        ]
        return action

    def _judge(self, beliefs: list[FloatArray], path: tuple[tuple[int, ...], ...], value: FloatArray) -> None:
        """Walk the tree of policies from ``path`` on; leaves write their value into ``neg_efe``."""
        matching = [
            p for p, policy in enumerate(self._policies) if tuple(map(tuple, policy[: len(path)])) == path
        ]
        if len(path) == self._policies.shape[1]:
            self.neg_efe[:, matching] = value[:, None]
            return
        for action in sorted({tuple(self._policies[p, len(path)].tolist()) for p in matching}):
            ahead = [belief @ self._B[f][:, :, action[f]].T for f, belief in enumerate(beliefs)]
            self._judge(ahead, (*path, action), value + self._worth(ahead))

    def _worth(self, beliefs: list[FloatArray]) -> FloatArray:
        """Return expected log-preference and information of one tick, float64 (N,)."""
        worth = np.zeros(len(beliefs[0]))
        for i, f in enumerate(self._factor):
            expected = beliefs[f] @ self._A[i].T
            worth += expected @ self._C[i] - (expected * np.log(np.maximum(expected, EPSILON))).sum(axis=1)
            worth -= beliefs[f] @ self._ambiguity[i]
        return worth
