"""A scheduler on a monotonic clock: due tasks and the next deadline.

Theory of operation. A periodic task is due at start + k·period for whole k, so lateness does not add up. A
task that is late by whole periods runs once; the periods it lost are counted in ``missed`` and never made up.
A task may be asked for (``request``): it then runs as soon as its shortest interval allows, which is how
agents step on arrival without a flood setting the pace. Wall-clock jumps don't reach this file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter


@dataclass(slots=True)
class Task:
    """One thing to do again and again; ``deadline`` and ``period`` in seconds, inf: not by itself."""

    name: str
    period: float
    deadline: float
    start: float = 0.0
    count: int = 1
    on_request: bool = False
    earliest: float = 0.0
    missed: int = 0
    runs: int = 0
    jitter: float = 0.0
    """How late the last run began, seconds."""


_deadline = attrgetter("deadline")


class Scheduler:
    """Tasks by name, earliest deadline first."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def __getitem__(self, name: str) -> Task:
        return self._tasks[name]

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def every(self, name: str, period: float, now: float) -> Task:
        """Run ``name`` each ``period`` seconds, first one period from now."""
        self._tasks[name] = task = Task(name, period, now + period, start=now)
        return task

    def on_request(self, name: str, interval: float, now: float) -> Task:
        """Run ``name`` when asked for, at most every ``interval`` seconds."""
        self._tasks[name] = task = Task(name, interval, math.inf, on_request=True, earliest=now)
        return task

    def remove(self, name: str) -> None:
        """Forget a task."""
        del self._tasks[name]

    def set_period(self, name: str, period: float, now: float) -> None:
        """Change the pace of a task; a periodic one begins a new count of periods."""
        task = self._tasks[name]
        if task.period == period:
            return
        task.period = period
        if not task.on_request:
            task.start, task.count, task.deadline = now, 1, now + period

    def align(self, name: str, deadline: float) -> None:
        """Let a periodic task begin a new count of periods at ``deadline``."""
        task = self._tasks[name]
        task.start, task.count, task.deadline = deadline, 0, deadline

    def request(self, name: str, now: float) -> None:
        """Ask for a task that runs on request."""
        task = self._tasks[name]
        task.deadline = min(task.deadline, max(now, task.earliest))

    def rest(self, name: str, until: float) -> None:
        """Let a task that runs on request not run before ``until``."""
        task = self._tasks[name]
        if task.on_request:
            task.earliest = max(task.earliest, until)

    def due(self, now: float) -> list[Task]:
        """Return what is due, in the order of deadlines, and set the next deadlines."""
        ready = [task for task in self._tasks.values() if task.deadline <= now]
        ready.sort(key=_deadline)
        for task in ready:
            task.jitter = now - task.deadline
            task.runs += 1
            if task.on_request:
                task.deadline, task.earliest = math.inf, now + task.period
            else:
                task.missed -= 1  # the period that is run now is none of the lost ones
                while task.deadline <= now:
                    lost = max(1, math.floor((now - task.deadline) / task.period))
                    task.missed += lost
                    task.count += lost
                    task.deadline = task.start + task.count * task.period
        return ready

    @property
    def deadline(self) -> float:
        """The next deadline, seconds; inf without one."""
        return min([task.deadline for task in self._tasks.values()], default=math.inf)
