"""The port to a population of any kind: what the daemon asks of agents on the engine, or of networks."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class PopulationPort(Protocol):
    """A population; ``engine.Population`` is one, and so is
    `runtime.population.network_port.NetworkStepper`.
    """

    @property
    def free_energy(self) -> NDArray[np.float32]:
        """Surprise of each agent at its last step (N,), nats."""

    @property
    def contradictions(self) -> int:
        """Observations that no state could explain, since the start."""

    @property
    def nbytes(self) -> int:
        """Bytes of its columns."""

    def step(self, observations: NDArray[Any], agents: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """Infer and plan; return actions (n, F)."""

    def act(self, actions: NDArray[Any], agents: NDArray[np.intp] | None = None) -> None:
        """Take note of what was really executed (n, F) instead of what the last step chose; -1: not known."""

    def plan(self, *, horizon: int | None = None) -> None:
        """Plan ``horizon`` steps ahead from now on; None: all that the model has."""

    def reset(self) -> None:
        """Let every agent begin anew."""

    def checkpoint(self) -> bytes:
        """Return the beliefs."""

    def restore(self, data: bytes) -> None:
        """Take beliefs back."""
