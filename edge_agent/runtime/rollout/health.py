"""Health of a bundle in its shadow run or trial, counted from the beginning of the stage.

Theory of operation. The bundle that is tried is compared with the one beside it on the same observations. A
population that is new has none beside it: its surprise is measured against itself, so that only what is not a
number breaks that gate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.protocol.rollout import Health
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.shadow import Shadow
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.step_schedule import StepSchedule

HEALTH_S = 0.5


@dataclass(slots=True)
class _Watch:
    """A population in a stage: of which bundle, and the counters when the stage began."""

    bundle: str
    alone: bool
    ticks: int
    steps: int
    missed: int
    contradictions: int


class BundleHealth:
    """The populations in a stage.

    Parameters
    ----------
    populations, schedule : Populations, StepSchedule
        Whose counters tell how a bundle does.
    rss : callable
        Returns the bytes of the process in memory.
    """

    def __init__(self, populations: Populations, schedule: StepSchedule, rss: Callable[[], int]) -> None:
        self.deadline = math.inf
        """When the next look is due, monotonic seconds."""
        self._populations = populations
        self._schedule = schedule
        self._rss = rss
        self._watched: dict[str, _Watch] = {}

    def begin(self, population: str, bundle: str, alone: bool, now: float) -> None:
        """Watch ``bundle`` from now on; ``alone``: there is none to compare it with."""
        group = self._populations.groups[population]
        shadow, counters = group.shadow, group.counters
        new = group.model_port if shadow is None or group.digest == bundle else shadow.model_port
        missed = self._schedule.missed(population)
        self._watched[population] = _Watch(
            bundle, alone, counters.ticks, counters.steps, missed, new.contradictions
        )
        self.deadline = now + HEALTH_S

    def end(self, population: str) -> None:
        """Watch a population no longer."""
        self._watched.pop(population, None)
        if not self._watched:
            self.deadline = math.inf

    def due(self, now: float) -> list[str]:
        """Return the populations to look at now."""
        if now < self.deadline:
            return []
        self.deadline = now + HEALTH_S
        return list(self._watched)

    def bundle(self, population: str) -> str:
        """Return the bundle that is watched."""
        return self._watched[population].bundle

    def health(self, population: str) -> Health | None:
        """Return how it does, None if the population was changed meanwhile."""
        watch, group = self._watched[population], self._populations.groups.get(population)
        if group is None:
            return None
        missed = self._schedule.missed(population) - watch.missed
        memory = self._rss()
        if watch.alone:
            return _alone(group, watch, missed, memory)
        return None if group.shadow is None else _beside(group, group.shadow, watch, missed, memory)


def _alone(group: Group, watch: _Watch, missed: int, memory: int) -> Health:
    energy = float(group.model_port.free_energy.mean())
    return Health(
        steps=group.counters.steps - watch.steps,
        ticks=group.counters.ticks - watch.ticks,
        missed=missed,
        contradictions=group.model_port.contradictions - watch.contradictions,
        free_energy=energy,
        old_free_energy=energy,
        memory=memory,
    )


def _beside(group: Group, shadow: Shadow, watch: _Watch, missed: int, memory: int) -> Health:
    acting = group.digest == watch.bundle
    steps = max(shadow.steps, 1)
    means = (shadow.free_energy / steps, shadow.acting_free_energy / steps)
    new = group.model_port if acting else shadow.model_port
    return Health(
        steps=shadow.steps,
        ticks=group.counters.ticks - watch.ticks,
        missed=missed,
        contradictions=new.contradictions - watch.contradictions,
        free_energy=means[1] if acting else means[0],
        old_free_energy=means[0] if acting else means[1],
        agreed=shadow.agreed,
        memory=memory,
    )
