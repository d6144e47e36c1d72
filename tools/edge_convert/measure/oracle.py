"""The float64 reference, stepped for many agents along a history that something else acted out.

The mathematics is ``edge_agent.engine.reference``, function by function. What is added here is that each
prefix of actions is expanded once instead of once a policy: 155 expansions instead of 375 for three steps of
five actions, and the ambiguity of a likelihood is worked out once a model instead of once an expansion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import reference
from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.reference import Beliefs, Decision, Float


class Oracle:
    """One agent of the reference; ``step`` decides, ``act`` says which action was really executed.

    ``rounding`` is applied to the posterior [S_f] of each factor before it is kept.
    """

    def __init__(self, model: ModelArrays, rounding: Callable[[Float], Float] | None = None) -> None:
        self._model = model
        self._rounding = rounding
        self._ambiguity = [-(a * reference.log(a)).sum(axis=0) for a in model.A]
        self._prior: Beliefs = list(model.D)
        self._qs: Beliefs = list(model.D)

    def restart(self) -> None:
        """Begin anew from D."""
        self._prior = self._qs = list(self._model.D)

    def step(self, observation: Sequence[int]) -> Decision:
        """Return the reference's decision after ``observation``."""
        model = self._model
        self._qs, free_energy = reference.infer(model, self._prior, observation)
        if self._rounding is not None:
            self._qs = [self._rounding(q) for q in self._qs]
        G = self.expected_free_energy(self._qs)
        q_pi = reference.policy_posterior(model, G)
        return Decision(self._qs, G, q_pi, reference.marginal_action(model, q_pi), free_energy)

    def act(self, action: Sequence[int]) -> None:
        """Predict the next prior from the action that was executed."""
        self._prior = reference.predict(self._model, self._qs, action)

    def expected_free_energy(self, qs: Sequence[Float]) -> Float:
        """Return what ``reference.expected_free_energy`` returns."""
        model = self._model
        known: dict[tuple[int, ...], tuple[Beliefs, float]] = {(): (list(qs), 0.0)}
        G = np.empty(len(model.policies))
        for p, policy in enumerate(model.policies):
            prefix: tuple[int, ...] = ()
            for t, action in enumerate(policy):
                states, value = known[prefix]
                prefix = (*prefix, *action.tolist())
                if prefix not in known:
                    states = reference.predict(model, states, action)
                    known[prefix] = states, value + self._gain(states, t)
            G[p] = known[prefix][1]
        return G

    def _gain(self, states: Sequence[Float], t: int) -> float:
        gain = 0.0
        model = self._model
        for a, c, ambiguity, deps in zip(model.A, model.C, self._ambiguity, model.A_deps, strict=True):
            parents = [states[d] for d in deps]
            outcomes = reference.contract(a, parents)
            utility = outcomes @ (c[t] if c.ndim == 2 else c)
            entropy = -(outcomes @ reference.log(outcomes))
            gain += float(utility + entropy - reference.contract(ambiguity, parents))
        return gain


class World:
    """The model taken for the world: states are drawn from D and B, outcomes from A, seeded."""

    def __init__(self, model: ModelArrays, seed: int) -> None:
        self._model = model
        self._rng = np.random.default_rng(seed)
        self._states = [self._draw(d) for d in model.D]

    def observe(self) -> NDArray[np.int64]:
        """Return outcomes [M] drawn from the likelihood of the present states."""
        model = self._model
        columns = (
            _column(a, [self._states[d] for d in deps]) for a, deps in zip(model.A, model.A_deps, strict=True)
        )
        return np.array([self._draw(column) for column in columns], dtype=np.int64)

    def act(self, action: Sequence[int]) -> None:
        """Draw the next states."""
        model = self._model
        columns = [
            _column(b, [*(self._states[d] for d in deps), int(u)])
            for b, deps, u in zip(model.B, model.B_deps, action, strict=True)
        ]
        self._states = [self._draw(column) for column in columns]

    def _draw(self, distribution: Float) -> int:
        edges = np.cumsum(distribution)
        drawn = int(np.searchsorted(edges, self._rng.random() * edges[-1], side="right"))
        return min(drawn, len(edges) - 1)


def _column(tensor: Float, indices: Sequence[int]) -> Float:
    """Return ``tensor[:, *indices]``, a distribution."""
    out: Float = np.moveaxis(tensor, 0, -1)[tuple(indices)]
    return out
