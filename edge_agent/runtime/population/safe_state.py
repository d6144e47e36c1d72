"""Agents that are held safe: which agents, their safe values, and the actions that they execute meanwhile.

Theory of operation. A model predicts the next state from the action that was executed. An agent at its safe
value does not execute the action that the model chose, so the model is told the executed one: the action with
the safe value; the last sent action for a control without a safe value; -1 if it is unknown (a safe value
that is no action, the receiver of a bulk message), and the beliefs then do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.binding import Control
from edge_agent.memory.arena import Column
from edge_agent.runtime.population.actuators import SAFE, UNKNOWN, Actuator


class Executed(NamedTuple):
    """What agents (n,) really did, int16 (n, F); -1 is not known."""

    agents: NDArray[np.intp]
    actions: NDArray[np.int16]


class Hold(NamedTuple):
    """Agents (n,) that are to be told the safe value."""

    agents: NDArray[np.intp]
    actions: NDArray[np.int16]
    """(n, F), SAFE everywhere."""
    new: NDArray[np.intp]
    """Those of them that were not held before."""
    executed: Executed | None
    """What the new ones do now, if the model was told."""


class SafeState:
    """The agents of one population that are held safe.

    Parameters
    ----------
    held : ndarray, bool (N,)
        Who is, of the arena.
    controls : sequence of Control
        What they are told about.
    actuators : sequence of Actuator
        By whom.
    """

    def __init__(
        self, held: NDArray[np.bool_], controls: Sequence[Control], actuators: Sequence[Actuator]
    ) -> None:
        self._held = held
        self._controls = controls
        self._actuators = actuators

    @staticmethod
    def columns(size: int) -> tuple[Column, ...]:
        """Return what it needs of the arena."""
        return (Column("held", (size,), np.bool_),)

    def note(self, agents: NDArray[np.intp], held: NDArray[np.bool_]) -> None:
        """Take note which of ``agents`` are held from now on."""
        self._held[agents] = held

    def holds(self, agents: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of ``agents`` are held (n,)."""
        return np.asarray(self._held[agents])

    def begin(self, agents: NDArray[np.intp]) -> NDArray[np.intp]:
        """Hold ``agents``; return those that were not held before."""
        new = agents[~self._held[agents]]
        self._held[new] = True
        return new

    def forget(self) -> None:
        """Forget which agents were held, so that safe values are sent again."""
        self._held[:] = False

    def safe(self, agents: NDArray[np.intp]) -> NDArray[np.int16]:
        """Return the safe values of ``agents``."""
        return np.full((len(agents), len(self._controls)), SAFE, np.int16)

    def executed(self, agents: NDArray[np.intp]) -> Executed:
        """Return what ``agents`` do that are held."""
        rows = np.full((len(agents), len(self._controls)), UNKNOWN, np.int16)
        for column, control in enumerate(self._controls):
            if len(control.values) == 1:
                rows[:, column] = 0
        for actuator in self._actuators:
            rows[:, actuator.column] = actuator.held(agents)
        return Executed(agents, rows)
