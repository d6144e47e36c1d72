"""A model that runs on the same observations as the acting one and is compared with it; its actions are not
sent.

Theory of operation. A model predicts the next state from the action that was executed. So the shadow is told
the acting model's action wherever its own differs: its next prediction then starts from the executed action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.runtime.population import spread
from edge_agent.runtime.population.population_port import PopulationPort
from edge_agent.runtime.population.spread import Distributions


@dataclass(slots=True)
class Shadow:
    """A population's second model, and how it compares."""

    model_port: PopulationPort
    digest: str
    bundle: str
    owner: str
    """Its region of the arena."""
    steps: int = 0
    agreed: int = 0
    free_energy: float = 0.0
    """Sums over those steps, nats: its own, and that of the model that acts."""
    acting_free_energy: float = 0.0

    def follow(
        self,
        agents: NDArray[np.intp],
        subset: NDArray[np.intp] | None,
        observed: NDArray[Any],
        chosen: NDArray[np.int16],
        energy: NDArray[np.float32],
        soft: Distributions | None = None,
    ) -> None:
        """Step as the acting model did.

        Parameters
        ----------
        agents, subset : ndarray (n,)
            Who stepped, and what `PopulationPort.step` was told of it (None: everyone).
        observed : ndarray (n, M)
            What they saw.
        chosen : ndarray, int16 (n, F)
            What the acting model chose.
        energy : ndarray, float32 (n,)
            Its free energy, nats.
        soft : mapping of modality to ndarray (n, O), optional
            Distributions that they saw in place of bins.
        """
        differs = (chosen != spread.step(self.model_port, observed, subset, soft)).any(axis=1)
        if differs.any():
            self.model_port.act(chosen[differs], agents[differs])
        self.steps += len(agents)
        self.agreed += len(agents) - int(np.count_nonzero(differs))
        self.free_energy += float(self.model_port.free_energy[agents].sum())
        self.acting_free_energy += float(energy.sum())
