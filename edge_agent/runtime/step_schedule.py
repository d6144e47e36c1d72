"""Scheduler tasks of each population: step, watch for stale observations, read sources.

Theory of operation. At a rate a population steps each period; otherwise when it is asked to, since agents
were heard from, and at most as often. Each `WATCH_S` it is watched: who has fallen silent is held safe.
Sources of a population that does not step at a rate are read in a task of their own. Tasks are called
``step NAME``, ``watch NAME`` and ``poll NAME``; nobody else needs to know.
"""

from __future__ import annotations

from edge_agent.protocol.ports import Clock
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.scheduler import Scheduler

WATCH_S = 1.0
STEP, WATCH, POLL = "step", "watch", "poll"


class StepSchedule:
    """The pace of all populations.

    Parameters
    ----------
    scheduler : Scheduler
        The daemon's.
    populations : Populations
        The running populations.
    clock : Clock
        Monotonic time.
    """

    def __init__(self, scheduler: Scheduler, populations: Populations, clock: Clock) -> None:
        self.slowed = 1.0
        """Factor on every period of steps."""
        self._scheduler = scheduler
        self._populations = populations
        self._clock = clock

    def begin(self, name: str, group: Group) -> None:
        """Let a population step from now on, also one that takes the place of another."""
        now = self._clock.monotonic()
        self._remove(name)
        period = 1.0 / group.rate_hz
        if group.config.step == "rate":
            self._scheduler.every(f"{STEP} {name}", period, now)
        else:
            self._scheduler.on_request(f"{STEP} {name}", period, now)
        self._scheduler.every(f"{WATCH} {name}", WATCH_S, now)
        if group.inputs.feeds and group.config.step != "rate":
            self._scheduler.every(f"{POLL} {name}", period, now)

    def end(self, name: str, group: Group) -> None:
        """Let a population step no more, unless another took its place."""
        if self._populations.groups.get(name) in (None, group):
            self._remove(name)

    def request(self) -> None:
        """Ask for a step of every population that was heard from and waits for that."""
        now = self._clock.monotonic()
        for name, group in self._populations.groups.items():
            if group.wants_step:
                self._scheduler.request(f"{STEP} {name}", now)

    def renew(self, name: str) -> None:
        """Let a population step at its configured rate from now on, or as much slower as all do."""
        period = self.slowed / self._populations.groups[name].rate_hz
        self._scheduler.set_period(f"{STEP} {name}", period, self._clock.monotonic())

    def align(self, name: str, deadline: float) -> None:
        """Let the steps of a population be counted from ``deadline``."""
        self._scheduler.align(f"{STEP} {name}", deadline)

    def period(self, name: str) -> float:
        """Return the seconds between two steps of a population."""
        return self._scheduler[f"{STEP} {name}"].period

    def missed(self, name: str) -> int:
        """Return how many steps of a population were lost since it is here."""
        return self._scheduler[f"{STEP} {name}"].missed

    def _remove(self, name: str) -> None:
        for kind in (STEP, WATCH, POLL):
            if f"{kind} {name}" in self._scheduler:
                self._scheduler.remove(f"{kind} {name}")
