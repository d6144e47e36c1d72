"""A hidden Markov world drawn from a seed: what several devices see parts of, and one agent that sees all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.support.bayes_filter import BayesFilter

Floats = NDArray[np.float64]


class HiddenWorld:
    """A factor of ``states`` states that noisy sensors watch; with ``controls`` > 1 it is steered.

    Attributes
    ----------
    B : array (S, S, U)
        Transition; a state tends to stay, or to move on by the control.
    A : array (sensors, O, S)
        Likelihoods; each sensor tells some states apart and confuses others.
    D : array (S,)
        Prior: where the world is before the first tick.
    """

    def __init__(self, seed: int, states: int = 8, sensors: int = 3, controls: int = 1) -> None:
        self._rng = np.random.default_rng(seed)
        self.D = np.full(states, 1.0 / states)
        self.B = np.stack(
            [0.9 * np.roll(np.eye(states), control, axis=0) + 0.1 / states for control in range(controls)],
            axis=2,
        )
        self.A = self._rng.dirichlet(np.full(4, 0.7), size=(sensors, states)).transpose(0, 2, 1)
        self.filter = BayesFilter(self.B)
        self._state = int(self._rng.integers(states))

    def move(self, control: int = 0) -> None:
        """Let one tick pass."""
        self._state = int(self._rng.choice(len(self.D), p=self.B[:, self._state, control]))

    def see(self, sensor: int) -> Floats:
        """Return the likelihood message of what a sensor sees now, shape (S,)."""
        outcome = self._rng.choice(self.A.shape[1], p=self.A[sensor, :, self._state])
        likelihood: Floats = self.A[sensor, outcome]
        return likelihood
