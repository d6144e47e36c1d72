"""Explains the next decision of an agent, when somebody asks for it; costs nothing while nobody does.

Theory of operation. What an agent believed before its readings is not kept. So a request waits for the next
decision of the agent: right before it the prior is taken, right after it beliefs, policies and the chosen
action (`runtime.recording.explain`). If none comes within `WAIT_S`, the last decision is explained, with the
prior only where the tick is still open. At most `MAX_ASKED` requests wait. The explanation is computed in
float64 on the daemon's thread; a model for which this would take long is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.population import Population
from edge_agent.errors import ConfigError
from edge_agent.runtime.population.group import Group, Step

WAIT_S = 5.0
MAX_ASKED = 8
MAX_STATES = 64
"""States of a factor that are told, the most probable ones before or after."""
MAX_OPTIONS = 50
"""Policies that are told, the most probable ones."""
MAX_WORK = 5_000_000
"""Entries of A and B times policies times horizon: more would hold the daemon up for too long."""

Answer = Callable[[dict[str, Any] | ConfigError], None]


@dataclass(slots=True)
class _Asked:
    name: str
    agent: int
    answer: Answer
    until: float
    prior: list[NDArray[np.float64]] | None = None


class DecisionWatch:
    """Requests that wait for a decision."""

    def __init__(self) -> None:
        self._asked: list[_Asked] = []

    def __bool__(self) -> bool:
        return bool(self._asked)

    @property
    def deadline(self) -> float:
        """When the next request has waited long enough, monotonic seconds."""
        return min((asked.until for asked in self._asked), default=math.inf)

    def ask(self, name: str, group: Group, agent: int, answer: Answer, now: float) -> None:
        """Explain the next decision of ``agent`` of population ``name``; ``answer`` gets the explanation.

        Raises
        ------
        ConfigError
            Decisions of this population can't be explained, or too many requests wait.
        """
        port = group.model_port
        if not isinstance(port, Population):
            raise ConfigError(f"agent: {group.names[agent]} runs a network, which has no beliefs to explain")
        model = port.model
        entries = sum(tensor.rows * tensor.width for tensor in (*model.A, *model.B))
        if entries * len(model.policies) * port.horizon > MAX_WORK:
            raise ConfigError(
                f"population {name}: its model is too large to be explained on the board; record it and use "
                "edge-agent replay --explain"
            )
        if len(self._asked) >= MAX_ASKED:
            raise ConfigError(f"explain: {MAX_ASKED} requests wait already")
        self._asked.append(_Asked(name, agent, answer, now + WAIT_S))

    def before(self, name: str, group: Group) -> None:
        """Take the priors of agents whose population is about to decide."""
        from edge_agent.engine import boundary

        for asked in self._asked:
            port = group.model_port
            if asked.name == name and isinstance(port, Population):
                asked.prior = boundary.prior(port, port.model.arrays(), asked.agent)

    def after(self, name: str, group: Group, step: Step, within: bool = False) -> None:
        """Answer for the agents that decided in ``step``; ``within``: within a tick."""
        for asked in [a for a in self._asked if a.name == name and a.prior is not None]:
            if asked.agent in step.agents:
                self._asked.remove(asked)
                self._answer(asked, group, step, within)

    def run_once(self, groups: Callable[[str], Group | None], now: float) -> None:
        """Answer those that have waited long enough."""
        for asked in [a for a in self._asked if now >= a.until]:
            self._asked.remove(asked)
            group = groups(asked.name)
            if group is None:
                asked.answer(ConfigError(f"population {asked.name}: it is gone"))
                continue
            self._answer_last(asked, group, now)

    def _answer_last(self, asked: _Asked, group: Group, now: float) -> None:
        from edge_agent.engine import boundary

        port, agents = group.model_port, np.array([asked.agent])
        records = group.history.select(asked.agent, 1)
        if not isinstance(port, Population) or not len(records["tick"]):
            name = group.names[asked.agent]
            asked.answer(ConfigError(f"agent: {name} has not decided yet, or its history has no memory"))
            return
        actions = np.asarray(records["action"]).astype(np.int16).reshape(1, -1)
        within = boundary.within_tick(port, asked.agent)
        if within:
            observed, _ = group.observations.collect(agents, now)
            asked.prior = boundary.prior(port, port.model.arrays(), asked.agent)
            for actuator in group.actuators:
                stands = actuator.stands(agents)
                if actuator.control is group.binding.controls[actuator.column] and stands[0] >= 0:
                    actions[0, actuator.column] = stands[0]
        else:
            observed = np.asarray(records["observation"]).reshape(1, -1)
            asked.prior = None
        self._answer(asked, group, Step(agents, observed, actions, actions), within)

    def _answer(self, asked: _Asked, group: Group, step: Step, within: bool) -> None:
        try:
            found = explained(group, asked.agent, step, asked.prior, within)
        except ConfigError as error:
            asked.answer(error)
        else:
            asked.answer(found)


def explained(
    group: Group, agent: int, step: Step, prior: list[NDArray[np.float64]] | None, within: bool
) -> dict[str, Any]:
    """Return an explanation in plain types: the result of the command ``explain``."""
    from edge_agent.runtime.recording.explain import explain, factor_names
    from edge_agent.runtime.recording.replay import Moment

    port = group.model_port
    if not isinstance(port, Population):
        raise ConfigError(f"agent: {group.names[agent]} runs a network, which has no beliefs to explain")
    moment = Moment(port, group.binding, group.names, step.observed, step.chosen, step.agents, step.soft)
    found = explain(moment, agent)
    factors = []
    for f, (name, states) in enumerate(factor_names(port.model.meta, port.model.num_states)):
        after = port.beliefs(f, [agent])[0].astype(np.float64)
        before = after if prior is None else prior[f]
        told = np.sort(np.argsort(-np.maximum(before, after), kind="stable")[:MAX_STATES])
        factors.append(
            {
                "name": name,
                "states": [states[s] for s in told.tolist()],
                "before": None if prior is None else [round(float(before[s]), 5) for s in told],
                "after": [round(float(after[s]), 5) for s in told],
            }
        )
    row = int(np.flatnonzero(step.agents == agent)[0])
    return {
        "population": group.config.name,
        "agent": found.agent,
        "tick": group.counters.ticks + within,
        "within_tick": within,
        "observed": found.observed,
        "free_energy": None if within else round(found.free_energy, 4),
        "factors": factors,
        "controls": [control.name for control in group.binding.controls],
        "policies": len(found.options),
        "options": [_rounded(asdict(option)) for option in found.options[:MAX_OPTIONS]],
        "chosen": found.chosen,
        "window": found.window,
        "held_safe": bool((step.actions[row] < 0).any()),
    }


def _rounded(option: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in option.items()}
