"""Keeps the action that stands where a new one is hardly more probable.

Theory of operation. Near a tie the more probable action may change with each tick, and a fan would be
switched each time. An agent therefore keeps the action that it was last told unless the new one is more
probable by the control's ``margin``. The probability of an action is the sum of the posterior over the
policies that begin with it. Actions that are drawn are not kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.population import Population
from edge_agent.runtime.population.actuators import Actuator
from edge_agent.runtime.population.population_port import PopulationPort


def keep_within_margin(
    port: PopulationPort,
    actuators: Sequence[Actuator],
    agents: NDArray[np.intp],
    chosen: NDArray[np.int16],
) -> NDArray[np.int16]:
    """Return the actions (n, F) of ``agents`` who have just chosen ``chosen``; the same array if all stay."""
    if not isinstance(port, Population) or port.model.options.action_selection == "stochastic":
        return chosen
    actions = chosen
    for actuator in actuators:
        if not actuator.margin:
            continue
        new, told = chosen[:, actuator.column], actuator.stands(agents)
        rows = np.flatnonzero((told >= 0) & (told != new))
        if not rows.size:
            continue
        _, posterior = port.evaluate(agents[rows])
        first = port.model.policies[:, 0, actuator.column]
        gain = np.where(first == new[rows, np.newaxis], posterior, 0.0).sum(axis=1)
        gain -= np.where(first == told[rows, np.newaxis], posterior, 0.0).sum(axis=1)
        kept = rows[gain < actuator.margin]
        if kept.size:
            actions = actions.copy() if actions is chosen else actions
            actions[kept, actuator.column] = told[kept]
    return actions
