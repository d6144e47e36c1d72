"""Runs the governor: passes readings of board and daemon to it, and applies its level to every population.

Theory of operation. Every `LOOK_S` seconds the board's sensors are read, and the daemon's own figures are
added: lateness of steps, missed steps, memory as a share of the budget. A move (`runtime.governor.governor`)
changes rate and horizon of every population, and suspends those that are shed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from edge_agent.protocol.ports import Clock
from edge_agent.runtime.governor.governor import BoardReadings, Governor
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.suspension import SuspendReason
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.recorder import Recorder
from edge_agent.runtime.scheduler import Task
from edge_agent.runtime.step_schedule import StepSchedule

log = logging.getLogger("edge_agent")

LOOK_S = 1.0


class GovernorDriver:
    """Feeds the governor and carries out its moves.

    Parameters
    ----------
    governor : Governor
        Who decides.
    populations : Populations
        The running populations.
    schedule : StepSchedule
        Their pace.
    recorder : Recorder
        Where changes of the horizon are recorded.
    readings : callable
        Reads the board's sensors.
    rss : callable
        Returns the bytes of the process in memory.
    clock : Clock
        Time.
    """

    def __init__(
        self,
        governor: Governor,
        populations: Populations,
        schedule: StepSchedule,
        recorder: Recorder,
        readings: Callable[[], BoardReadings],
        rss: Callable[[], int],
        clock: Clock,
    ) -> None:
        self.governor = governor
        self._populations = populations
        self._schedule = schedule
        self._recorder = recorder
        self._readings = readings
        self._rss = rss
        self._clock = clock
        self.seen = BoardReadings()
        """What was seen last."""
        self._missed = 0
        self._late_periods = 0.0
        self._steps = 0

    def note(self, step: Task) -> None:
        """Note how late a step begins."""
        self._late_periods += step.jitter / step.period
        self._steps += 1

    def look(self) -> None:
        """Tell the governor how things are, and carry out its move if it makes one."""
        populations = self._populations
        missed = sum(self._schedule.missed(name) for name in populations.groups)
        seen = replace(
            self._readings(),
            missed=(missed - self._missed) / LOOK_S,
            late=self._late_periods / max(self._steps, 1),
            memory=self._rss() / populations.plan.budget,
        )
        self.seen = seen
        self._missed, self._late_periods, self._steps = missed, 0.0, 0
        move = self.governor.look(seen, self._clock.monotonic())
        if move is None:
            return
        fields = {"rung": move.rung, "cause": move.cause}
        log.warning("governor: %s, because of %s", move.name, move.cause, extra={"fields": fields})
        for name, group in list(populations.groups.items()):
            self._give_way(name, group)

    def admit(self, name: str, group: Group) -> None:
        """Apply the present level to an added population."""
        if self.governor.rung:
            self._give_way(name, group)

    def status(self) -> dict[str, object]:
        """Return rung and cause, in plain types."""
        governor = self.governor
        return {
            "rung": governor.rung,
            "name": governor.name,
            "cause": governor.cause,
            "moves": governor.moves,
        }

    def _give_way(self, name: str, group: Group) -> None:
        governor = self.governor
        self._schedule.slowed = governor.slowed
        self._schedule.renew(name)
        horizon = 1 if governor.plans_shorter else None
        group.plan(horizon)
        self._recorder.plan(name, horizon)
        if governor.suspended(group.config.priority):
            self._populations.suspend(name, SuspendReason.GOVERNOR)
        else:
            self._populations.resume(name, SuspendReason.GOVERNOR)
