"""The step of a population, or holding it safe, with inputs, peers, recorder and publisher.

Theory of operation. A step closes a tick. Before it the beliefs of shared factors are set from the peers'
evidence. After it the new evidence goes to the peers, the step to the recorder, and the actions to the
publisher. Decisions within a tick go to recorder and publisher, but not to the peers, whose evidence is that
of closed ticks. Safe values are published on every watch of the population, only if they changed
(`runtime.population.actuators`); in a bulk message they are published once. The same watch sends actions that
waited for the end of ``dwell_s``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.protocol.ports import Clock
from edge_agent.runtime.population.action_publisher import ActionPublisher
from edge_agent.runtime.population.actuators import SAFE
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.recorder import Recorder

if TYPE_CHECKING:  # loaded only on a device that has peers, or a hub
    from edge_agent.runtime.peers.shared_factors import SharedFactors
    from edge_agent.runtime.recording.agent_counters import AgentCounters
    from edge_agent.runtime.recording.decision_watch import DecisionWatch


class PopulationTick:
    """Steps and holds populations.

    Parameters
    ----------
    populations : Populations
        The running populations.
    publisher : ActionPublisher
        Where actions go.
    recorder : Recorder
        Where steps are recorded.
    clock : Clock
        Time.
    """

    def __init__(
        self, populations: Populations, publisher: ActionPublisher, recorder: Recorder, clock: Clock
    ) -> None:
        self.busy_s = 0.0
        """Seconds that steps took, since the start."""
        self.stepped = 0
        """Agents that stepped, since the start."""
        self.watches: tuple[DecisionWatch | AgentCounters, ...] = ()
        """Explain decisions and count an agent, if a hub may ask for that."""
        self._populations = populations
        self._publisher = publisher
        self._recorder = recorder
        self._clock = clock
        self._shared: SharedFactors | None = None

    def share(self, factors: SharedFactors) -> None:
        """Exchange the beliefs of shared factors around each step."""
        self._shared = factors

    def step(self, name: str, jitter: float, boundary: float = math.inf) -> None:
        """Close a tick of a population that ended at ``boundary``, ``jitter`` seconds late."""
        groups, shared = self._populations.groups, self._shared
        group = groups[name]
        group.jitter.add_one(jitter)
        if group.inputs.feeds and group.config.step == "rate":
            group.inputs.poll(min(self._clock.monotonic(), boundary))
        start = self._clock.monotonic()
        for observed, soft in group.pass_ticks(start, boundary):
            self._recorder.record_passed(name, observed, soft)
        if shared is not None:
            shared.before(name, group, self._recorder)
        for watch in self.watches:
            if watch:
                watch.before(name, group)
        step = group.step(start, int(self._clock.time() * 1000), boundary)
        self.busy_s += self._clock.monotonic() - start
        if step is None:
            return
        if shared is not None:
            shared.after(name, group, step)
        self.stepped += len(step.agents)
        for watch in self.watches:
            if watch:
                watch.after(name, group, step)
        self._recorder.step(name, group.counters.ticks, step, groups)
        self._publisher.bulk(group, step.agents, step.actions)
        self._publisher.publish(group, step.agents, step.actions)
        delayed = group.delay(step)
        if delayed is not None:
            self._recorder.act(name, delayed)

    def decide(self, name: str) -> None:
        """Let the agents of a population that were heard from decide within the tick."""
        groups = self._populations.groups
        group = groups[name]
        start = self._clock.monotonic()
        for watch in self.watches:
            if watch:
                watch.before(name, group)
        decision = group.decide(start)
        self.busy_s += self._clock.monotonic() - start
        if decision is None:
            return
        self.stepped += len(decision.agents)
        for watch in self.watches:
            if watch:
                watch.after(name, group, decision, within=True)
        self._recorder.decide(name, group.counters.ticks + 1, decision, groups)
        self._publisher.bulk(group, decision.agents, decision.actions)
        self._publisher.publish(group, decision.agents, decision.actions)

    def hold(self, name: str, group: Group) -> None:
        """Hold the agents safe that are silent, or all of a suspended population."""
        hold = group.hold_silent(self._clock.monotonic())
        if hold.executed is not None:
            self._recorder.act(name, hold.executed)
        if hold.new.size:
            safe = np.full((len(hold.new), hold.actions.shape[1]), SAFE, np.int16)
            self._publisher.bulk(group, hold.new, safe)
        if hold.agents.size:
            self._publisher.publish(group, hold.agents, hold.actions)
        released = self._publisher.release(group)
        if released is not None:
            self._recorder.act(name, released)

    @property
    def step_us(self) -> float:
        """Microseconds per agent-step since the start."""
        return round(self.busy_s * 1e6 / self.stepped, 3) if self.stepped else 0.0
