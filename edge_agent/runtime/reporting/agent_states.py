"""Publishes the states of agents that are shown in Home Assistant: decisions, overrides, likeliest states.

Theory of operation. An agent's state is published when it has changed, at most once per ``interval_s`` of its
population, and again after `REFRESH_S` without a change, so that values expire only if the device is gone.
States are compared once in `LOOK_S` seconds. After an override has begun, ended or been refused they are
compared at once, and at most once per `LOOK_S` published, so that the select shows what is in force. After an
announcement all states are published again, since Home Assistant subscribes to them later. Probabilities have
two decimals: smaller changes are not published.

Decisions are noted where actions are published: the newest action of each shown agent, also one that waits
for the end of a dwell or is overridden. A safe value is no decision.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.population import Population
from edge_agent.protocol.ports import Clock, Publication
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.population.actuators import UNKNOWN
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.overrides import Overrides
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.reporting.agent_entities import Shown
from edge_agent.wire import discovery
from edge_agent.wire.agent_discovery import REFRESH_S, AgentEntities
from edge_agent.wire.topics import DeviceTopics

LOOK_S = 1.0
OVERRIDE_S = 0.1
"""Seconds until states are compared after an override."""


@dataclass(slots=True)
class _Shown:
    """The shown agents of one population, n of them."""

    entities: AgentEntities
    decisions: NDArray[np.int16]
    """(n, F), UNKNOWN before the first."""
    published: list[bytes]
    """Empty: the state is due, changed or not."""
    at: list[float]
    """When each was published, monotonic seconds."""


class AgentStates:
    """The states of all shown agents.

    Parameters
    ----------
    topics : DeviceTopics
        The device's.
    populations : Populations
        What runs.
    overrides : Overrides
        Which decisions are overridden.
    dispatch : MqttDispatch
        Publishes.
    clock : Clock
        Time.
    """

    def __init__(
        self,
        topics: DeviceTopics,
        populations: Populations,
        overrides: Overrides,
        dispatch: MqttDispatch,
        clock: Clock,
    ) -> None:
        self._topics = topics
        self._populations = populations
        self.overrides = overrides
        self._dispatch = dispatch
        self._clock = clock
        self._shown: dict[str, _Shown] = {}
        self._next = math.inf
        self._override_changed = False
        overrides.changed.append(self._overridden)

    def show(self, shown: Mapping[str, Shown]) -> None:
        """Publish these populations' first agents from now on, and no others."""
        before, self._shown = self._shown, {}
        for name, (entities, count, _) in shown.items():
            known = before.get(name)
            if known is None or known.entities != entities or len(known.at) != count:
                decisions = _undecided(self._populations.groups[name], count)
                known = _Shown(entities, decisions, [b""] * count, [-math.inf] * count)
            self._shown[name] = known
        self.repeat()

    def begin(self, name: str, group: Group) -> None:
        """Forget the decisions of a population in whose place another one begins."""
        shown = self._shown.get(name)
        if shown is not None:
            shown.decisions = _undecided(group, len(shown.at))

    def repeat(self) -> None:
        """Publish all states again, changed or not."""
        for shown in self._shown.values():
            shown.published = [b""] * len(shown.decisions)
        self.look()

    def look(self) -> None:
        """Compare states soon."""
        self._next = 0.0 if self._shown else math.inf

    def decided(self, group: Group, agents: NDArray[np.intp], actions: NDArray[np.int16]) -> None:
        """Note actions (n, F) of ``agents`` that are being published."""
        shown = self._shown.get(group.config.name)
        if shown is None:
            return
        rows = np.flatnonzero((agents < len(shown.decisions)) & (actions >= 0).all(axis=1))
        shown.decisions[agents[rows]] = actions[rows]

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds; never while nobody would hear it."""
        return self._next if self._dispatch.online else math.inf

    def run_once(self) -> None:
        """Publish what has changed or is due."""
        now = self._clock.monotonic()
        if now < self._next or not self._dispatch.online:
            return
        self._next = now + LOOK_S
        overridden, self._override_changed = self._override_changed, False
        for name, shown in self._shown.items():
            group = self._populations.groups.get(name)
            if group is None:
                continue
            pause = min(LOOK_S, shown.entities.interval_s) if overridden else shown.entities.interval_s
            for index, at in enumerate(shown.at):
                if now >= at + pause:
                    self._publish(shown, group, index, now)
                elif overridden:
                    self._override_changed = True

    def _overridden(self) -> None:
        self._override_changed = True
        self._next = min(self._next, self._clock.monotonic() + OVERRIDE_S)

    def _publish(self, shown: _Shown, group: Group, index: int, now: float) -> None:
        payload = discovery.encode(self._state(shown, group, index))
        if payload == shown.published[index] and now < shown.at[index] + REFRESH_S:
            return
        topic = self._topics.agent_state(group.config.name, index)
        if self._dispatch.publish(Publication(topic, payload, qos=0)):
            shown.published[index], shown.at[index] = payload, now

    def _state(self, shown: _Shown, group: Group, index: int) -> dict[str, Any]:
        """Return an agent's state as `wire.home_assistant_bodies.AGENT_STATE`."""
        agent, decision = group.names[index], shown.decisions[index]
        state: dict[str, Any] = {"decision": {}, "sent": {}}
        for output in group.binding.outputs:
            action = int(decision[output.column])
            if action >= 0 and output.part is not None:
                action = int(output.part[action])
            state["decision"][output.control.name] = output.control.texts()[action] if action >= 0 else None
        for actuator in group.actuators:
            state["sent"][actuator.control.name] = actuator.last_value(index)
        for control in shown.entities.controls:
            if control.overrides:
                active = self.overrides.active(group.config.name, agent, control.name)
                value, until = (
                    (control.overrides[0], None) if active is None else (active[0], _iso(active[1]))
                )
                state.setdefault("override", {})[control.name] = value
                state.setdefault("until", {})[control.name] = until
        port = group.model_port
        if isinstance(port, Population):
            state["belief"] = {}
            for factor in shown.entities.factors:
                number, probability = port.likeliest(factor.number, index)
                likeliest = {"state": factor.states[number], "probability": round(probability, 2)}
                state["belief"][factor.name] = likeliest
        return state


def _undecided(group: Group, count: int) -> NDArray[np.int16]:
    return np.full((count, len(group.binding.controls)), UNKNOWN, np.int16)


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))
