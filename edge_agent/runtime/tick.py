"""One population's step, or its hold, with all who have a part in it: sources, peers, recorder, the way out.

Theory of operation. Before a step its agents take over what their peers have seen; after it what they saw
goes to the peers, the step to the recorder, and the actions out. Agents that are held safe are told so at
every look, where only what is new goes out (`runtime.population.actuators`); in a bulk message they are told
once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_agent.protocol.ports import Clock
from edge_agent.runtime.parts import Parts
from edge_agent.runtime.population.action_publisher import ActionPublisher
from edge_agent.runtime.population.actuators import SAFE
from edge_agent.runtime.population.group import Group


class PopulationTick:
    """Steps and holds populations.

    Parameters
    ----------
    groups : mapping of str to Group
        The populations at work, always the present ones.
    parts : Parts
        Recorder and peers are among them.
    outlet : ActionPublisher
        Where actions go.
    clock : Clock
        Time.
    """

    def __init__(
        self, groups: Mapping[str, Group], parts: Parts, outlet: ActionPublisher, clock: Clock
    ) -> None:
        self.busy_s = 0.0
        """Seconds that steps took, since the start."""
        self.stepped = 0
        """Agents that stepped, since the start."""
        self._groups = groups
        self._parts = parts
        self._outlet = outlet
        self._clock = clock

    def step(self, name: str, jitter: float) -> None:
        """Let a population step, ``jitter`` seconds late."""
        group, peering, recorder = self._groups[name], self._parts.peering, self._parts.recorder
        group.jitter.add(np.array([jitter]))
        if group.intake.feeds and group.config.step == "rate":
            group.intake.poll(self._clock.monotonic())
        start = self._clock.monotonic()
        if peering is not None:
            peering.before(name, group)
        step = group.step(start, int(self._clock.time() * 1000))
        self.busy_s += self._clock.monotonic() - start
        if step is None:
            return
        if peering is not None:
            peering.fusing.after(name, group, step)
        self.stepped += len(step.agents)
        if recorder is not None:
            recorder.step(name, group.counters.ticks, step, self._groups)
        self._outlet.bulk(group, step.agents, step.actions)
        self._outlet.publish(group, step.agents, step.actions)

    def hold(self, group: Group) -> None:
        """Hold the agents safe that are silent, or all of a suspended population."""
        hold, recorder = group.hold_silent(self._clock.monotonic()), self._parts.recorder
        if hold.executed is not None:
            if recorder is not None:
                recorder.act(group.config.name, hold.executed)
            self._outlet.bulk(group, hold.executed.agents, np.full_like(hold.executed.actions, SAFE))
        if hold.agents.size:
            self._outlet.publish(group, hold.agents, hold.actions)
