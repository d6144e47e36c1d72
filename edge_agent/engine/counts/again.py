"""The last tick of one agent once more: under the codes that decided it, and under the delivered ones.

Theory of operation. A learner keeps the beliefs and actions from before each tick, and the codes that decided
a tick stay in memory until those after the next are written. So the tick can be run again, for one agent and
on both models, from the same beliefs and with the same observation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.population import Population
from edge_agent.engine.stored_model import StoredModel


def again(
    learner: Learner,
    agent: int,
    observed: NDArray[np.int64],
    soft: Mapping[int, NDArray[np.float32]] | None = None,
) -> tuple[Population, Population]:
    """Return two populations of ``agent`` alone after its last tick: on the codes that decided it, and on the
    delivered ones.

    Actions are the most probable ones, also where the agent draws its own.

    Parameters
    ----------
    observed : ndarray of int, shape (M,)
    soft : mapping of modality to ndarray of float, shape (O_m,), optional
        As in ``Population.step_with``.
    """
    return (
        _run(learner, learner.decided, agent, observed, soft),
        _run(learner, learner.delivered, agent, observed, soft),
    )


def _run(
    learner: Learner,
    model: StoredModel,
    agent: int,
    observed: NDArray[np.int64],
    soft: Mapping[int, NDArray[np.float32]] | None,
) -> Population:
    watched = learner.population
    out = Population(model, 1, seed=watched.seed, stochastic=False)
    out.plan(horizon=watched.horizon, epistemic=watched.epistemic)
    out.prefer(watched.added)
    for own, before in zip(out.state, learner.before, strict=True):
        tile, lane = divmod(agent, before.shape[2])
        own[0, :, 0] = before[tile, :, lane]
    spread = {m: np.asarray(weights)[np.newaxis] for m, weights in (soft or {}).items()}
    out.step_with(np.asarray(observed, np.int64)[np.newaxis], soft=spread or None)
    return out
