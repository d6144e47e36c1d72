"""What is really done while agents are held safe, as their model has to know it.

Theory of operation. A model predicts the next state from the action that was executed. Who is told the safe
value does not execute what the model chose, so the population is told instead: the action whose value is the
safe one; where a control has no safe value nothing was sent, and what was told last goes on; what nobody can
know (a safe value that is no action, the receiver of a bulk message) is -1, and the beliefs then stand as
they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.runtime.acting import UNKNOWN, Actuator
from edge_agent.runtime.binding import Control


class Executed(NamedTuple):
    """What agents (n,) really did, int16 (n, F); -1 is not known."""

    agents: NDArray[np.intp]
    actions: NDArray[np.int16]


def executed(
    agents: NDArray[np.intp], controls: Sequence[Control], actuators: Sequence[Actuator]
) -> Executed:
    """Return what ``agents`` do that are held safe."""
    rows = np.full((len(agents), len(controls)), UNKNOWN, np.int16)
    for column, control in enumerate(controls):
        if len(control.values) == 1:
            rows[:, column] = 0
    for actuator in actuators:
        rows[:, actuator.column] = actuator.held(agents)
    return Executed(agents, rows)
