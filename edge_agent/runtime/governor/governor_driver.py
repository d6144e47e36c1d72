"""The governor at work: it hears how board and daemon are, and every population gives way as it says.

Theory of operation. Each `WATCH_S` the board's signs are read, and what the daemon knows itself is added: how
late its steps began, how many were lost, what share of its budget the process takes. A move on the ladder
(`runtime.governor.governor`) changes pace and horizon of every population, and suspends those that are shed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from edge_agent.protocol.ports import Clock
from edge_agent.runtime.governor.governor import Governor
from edge_agent.runtime.parts import Parts
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.scheduler import Task
from edge_agent.runtime.step_schedule import WATCH_S, StepSchedule
from edge_agent.runtime.tick import PopulationTick

log = logging.getLogger("edge_agent")


class GovernorDriver:
    """The governor's hands.

    Parameters
    ----------
    governor : Governor
        Who decides.
    groups : mapping of str to Group
        The populations at work, always the present ones.
    parts : Parts
        Signs, memory and recorder are among them.
    budget : int
        Bytes of the process.
    pacing, stepping, clock
        Who lets populations step, who holds them, and time.
    """

    def __init__(
        self,
        governor: Governor,
        groups: Mapping[str, Group],
        parts: Parts,
        budget: int,
        pacing: StepSchedule,
        stepping: PopulationTick,
        clock: Clock,
    ) -> None:
        self._governor = governor
        self._groups = groups
        self._parts = parts
        self._budget = budget
        self._pacing = pacing
        self._stepping = stepping
        self._clock = clock
        self._missed = 0
        self._late_periods = 0.0
        self._steps = 0

    def note(self, step: Task) -> None:
        """Take note of how late a step begins."""
        self._late_periods += step.jitter / step.period
        self._steps += 1

    def look(self) -> None:
        """Tell the governor how things are, and do what it says."""
        missed = sum(self._pacing.missed(name) for name in self._groups)
        seen = replace(
            self._parts.signs(),
            missed=(missed - self._missed) / WATCH_S,
            late=self._late_periods / max(self._steps, 1),
            memory=self._parts.rss() / self._budget,
        )
        self._missed, self._late_periods, self._steps = missed, 0.0, 0
        move = self._governor.look(seen, self._clock.monotonic())
        if move is None:
            return
        fields = {"rung": move.rung, "cause": move.cause}
        log.warning("governor: %s, because of %s", move.name, move.cause, extra={"fields": fields})
        for name in self._groups:
            self._give_way(name)

    def admit(self, name: str) -> None:
        """Let a population that comes give way too, if the rung asks for it."""
        if self._governor.rung:
            self._give_way(name)

    def _give_way(self, name: str) -> None:
        group, governor = self._groups[name], self._governor
        self._pacing.slowed = governor.slowed
        self._pacing.renew(name)
        horizon = 1 if governor.plans_shorter else None
        group.plan(horizon)
        if self._parts.recorder is not None:
            self._parts.recorder.plan(name, horizon)
        group.suspended = group.elsewhere or governor.suspended(group.config.priority)
        self._stepping.hold(group)
