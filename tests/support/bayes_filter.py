"""A plain Bayes filter of one factor in float64, the reference for fused beliefs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class BayesFilter:
    """Exact filtering with one transition matrix an action.

    Parameters
    ----------
    transition : array (S, S) or (S, S, U)
        B: the probability of the first index, given the second and the action.
    """

    def __init__(self, transition: ArrayLike) -> None:
        matrix = np.asarray(transition, np.float64)
        self._B = matrix if matrix.ndim == 3 else matrix[:, :, None]
        self._unknown = self._B.mean(axis=2)

    @property
    def states(self) -> int:
        """The number of states S."""
        return int(self._B.shape[0])

    def predict(self, belief: Floats, action: int) -> Floats:
        """Return the belief one tick on; an action that is not known (-1) is taken as any, all alike."""
        B = self._unknown if action < 0 else self._B[:, :, action]
        predicted: Floats = B @ belief
        return predicted

    def rerun(self, start: Floats, likelihoods: Floats, actions: NDArray[np.int64]) -> Floats:
        """Filter K ticks; see `protocol.peers.bayes_fusion.Filter`."""
        beliefs = np.empty_like(likelihoods)
        belief = start
        for k, (likelihood, action) in enumerate(zip(likelihoods, actions, strict=True)):
            belief = self.predict(belief, int(action)) * likelihood
            belief = belief / belief.sum()
            beliefs[k] = belief
        return beliefs
