"""A shared factor on the engine: the fused belief is run by the same kernel that runs the agents.

Theory of operation. `PopulationFilter` satisfies the port `protocol.peers.bayes_fusion.Filter` with a
population of one agent, whose model has the shared factor: evidence goes in as likelihood codes from outside,
no modality is observed, and re-running the ticks of the window is `Population.rerun`. The belief after each
tick passes through the engine's 8 bits. An action that is not known (-1) is taken to be the first control,
until it arrives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.population import Population
from edge_agent.engine.stored_model import StoredModel
from edge_agent.protocol.peers.codes import encode

Floats = NDArray[np.float64]


class PopulationFilter:
    """The Bayes filter of one factor of a model.

    Parameters
    ----------
    model : StoredModel
        Has the factor; its other factors stay as they are.
    factor : int
        Which one.
    """

    def __init__(self, model: StoredModel, factor: int) -> None:
        self._factor = factor
        self._population = Population(model, 1)
        self._nothing = np.full((1, 1, len(model.num_obs)), -1, np.int64)
        self._still = np.zeros((1, 1, len(model.num_controls)), np.int64)
        self.states: int = model.num_states[factor]

    def rerun(self, start: Floats, likelihoods: Floats, actions: NDArray[np.int64]) -> Floats:
        """Filter K ticks; see `protocol.peers.bayes_fusion.Filter`."""
        population, factor = self._population, self._factor
        population.set_beliefs(factor, (start / start.sum())[np.newaxis])
        beliefs = np.empty_like(likelihoods)
        for k, (likelihood, action) in enumerate(zip(likelihoods, actions, strict=True)):
            executed = self._still.copy()
            executed[0, 0, factor] = max(int(action), 0)
            coded = np.frombuffer(encode(likelihood), np.uint8).reshape(1, 1, -1)
            population.rerun(self._nothing, executed, evidence={factor: coded})
            beliefs[k] = population.beliefs(factor)[0]
        return beliefs
