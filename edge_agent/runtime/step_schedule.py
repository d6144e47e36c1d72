"""Scheduler tasks of each population: step, watch for stale observations, read sources.

Theory of operation. A population steps at the end of each tick. One that steps on arrival also decides within
ticks when agents were heard from, `DECIDE_S` apart at least, or a tick if that is shorter. Where an arrival
is a tick, it steps when agents were heard from, a period apart at least. Each `WATCH_S` a population is
watched: who has fallen silent is held safe. Sources of a population that does not step at a rate are read in
a task of their own. Tasks are called ``step NAME``, ``decide NAME``, ``watch NAME`` and ``poll NAME``.
"""

from __future__ import annotations

import math

from edge_agent.protocol.ports import Clock
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.scheduler import Scheduler

WATCH_S = 1.0
DECIDE_S = 0.1
STEP, DECIDE, WATCH, POLL = "step", "decide", "watch", "poll"


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
        group.opened = now
        period = 1.0 / group.rate_hz
        if group.on_time:
            self._scheduler.every(f"{STEP} {name}", period, now)
        else:
            self._scheduler.on_request(f"{STEP} {name}", period, now)
        if group.redecides:
            self._scheduler.on_request(f"{DECIDE} {name}", min(period, DECIDE_S), now)
        self._scheduler.every(f"{WATCH} {name}", WATCH_S, now)
        if group.inputs.feeds and group.config.step != "rate":
            self._scheduler.every(f"{POLL} {name}", group.poll_s, now)

    def end(self, name: str, group: Group) -> None:
        """Let a population step no more, unless another took its place."""
        if self._populations.groups.get(name) in (None, group):
            self._remove(name)

    def request(self) -> None:
        """Ask every population that was heard from and waits for that to step or decide."""
        now = self._clock.monotonic()
        for name, group in self._populations.groups.items():
            if group.wants_step:
                self._scheduler.request(f"{DECIDE if group.redecides else STEP} {name}", now)

    def renew(self, name: str) -> None:
        """Let a population step at its configured rate from now on, or as much slower as all do."""
        now, group = self._clock.monotonic(), self._populations.groups[name]
        self._scheduler.set_period(f"{STEP} {name}", self.slowed / group.rate_hz, now)
        if group.redecides:
            pause = self.slowed * min(1.0 / group.rate_hz, DECIDE_S)
            self._scheduler.set_period(f"{DECIDE} {name}", pause, now)

    def resume(self, name: str) -> None:
        """Let the ticks of a population end when they would have if the daemon had not been off."""
        now, group = self._clock.monotonic(), self._populations.groups[name]
        if group.on_time and group.opened is not None:
            period = 1.0 / group.rate_hz
            self.align(name, group.opened + (math.floor((now - group.opened) / period) + 1) * period)

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
        for kind in (STEP, DECIDE, WATCH, POLL):
            if f"{kind} {name}" in self._scheduler:
                self._scheduler.remove(f"{kind} {name}")
