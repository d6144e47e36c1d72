"""The port that the daemon uses for a population of any kind: agents on the engine, or networks."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class PopulationPort(Protocol):
    """A population; ``engine.Population`` is one, and so is
    `runtime.population.network_port.NetworkPort`.
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

    def infer(self, observations: NDArray[Any]) -> None:
        """Let a tick pass in which all agents observed (N, M) and none acts anew."""

    def decide(self, observations: NDArray[Any], agents: NDArray[np.intp]) -> NDArray[Any]:
        """Return actions (n, F) within a tick, from all that it has shown; the next step takes nothing of
        it.
        """

    def act(self, actions: NDArray[Any], agents: NDArray[np.intp] | None = None) -> None:
        """Set the executed actions (n, F) instead of those of the last step; -1 is unknown."""

    def plan(self, *, horizon: int | None = None) -> None:
        """Plan ``horizon`` steps ahead from now on; None: all that the model has."""

    def reset(self) -> None:
        """Reset every agent to its initial beliefs."""

    def checkpoint(self) -> bytes:
        """Return the beliefs."""

    def restore(self, data: bytes) -> None:
        """Take beliefs back."""
