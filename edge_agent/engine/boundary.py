"""What an agent believes before it takes in the observations of its present tick, and over what it infers.

For explanations: computed in float64 from the codes that the engine holds, when somebody asks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import reference
from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.population import Population
from edge_agent.engine.quantize import codes_from_bytes
from edge_agent.engine.snapshot import START, STILL


def within_tick(population: Population, agent: int) -> bool:
    """Whether the agent has decided since the last tick boundary."""
    base = population._base
    return base is not None and bool(base.opened[divmod(agent, population._belief.shape[2])])


def window_ticks(population: Population, agent: int) -> int | None:
    """Return over how many ticks the agent's last belief was inferred; None of one that filters."""
    model, (tile, lane) = population.model, divmod(agent, population._belief.shape[2])
    if not model.slots:
        return None
    return int(population._belief[tile, 2 * sum(model.code_rows) + 1, lane])


def prior(population: Population, arrays: ModelArrays, agent: int) -> list[NDArray[np.float64]]:
    """Return the prior of each factor, float64 (S_f,), of the tick that is open or begins next.

    It is predicted from the beliefs at the last tick boundary and the action that stood there; D where the
    agent has not begun.
    """
    tile, lane = divmod(agent, population._belief.shape[2])
    codes = (population._belief if population._base is None else population._base.codes())[tile, :, lane]
    model, beliefs, first = population.model, [], 0
    for rows, bits in zip(model.code_rows, model.belief_bits, strict=True):
        fourth = codes_from_bytes(codes[first : first + rows], bits).astype(np.float64) ** 4
        beliefs.append(fourth / fourth.sum())
        first += rows
    actions = population._action[tile, :, lane]
    known = np.where(actions >= STILL, 0, actions).tolist()
    predicted = reference.predict(arrays, beliefs, known)
    return [
        np.asarray(arrays.D[f] if action == START else beliefs[f] if action == STILL else predicted[f])
        for f, action in enumerate(actions.tolist())
    ]
