"""Health of the whole device in the trial of a configuration, compared with the time before it.

Theory of operation. The counters of all populations are read every `HEALTH_S` seconds. In the shadow run
nothing has changed yet: what is seen there is how the device did before. In the trial missed deadlines and
contradictions count beyond those that the rate of before would have given, so that a device that was not
well may still be given a configuration that changes nothing for the worse. Free energy and the share of
agents at their safe values are means over the looks, agents weighted alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.protocol.rollout import Health
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.rollout.health import HEALTH_S
from edge_agent.runtime.step_schedule import StepSchedule


@dataclass(frozen=True, slots=True)
class _Rates:
    """How the device did: missed deadlines per tick, contradictions per step, means of the looks."""

    missed: float = 0.0
    contradictions: float = 0.0
    free_energy: float = 0.0
    held: float = 0.0


class ConfigurationHealth:
    """Watches all populations.

    Parameters
    ----------
    populations, schedule : Populations, StepSchedule
        Whose counters tell how the device does.
    rss : callable
        Returns the bytes of the process in memory.
    """

    def __init__(self, populations: Populations, schedule: StepSchedule, rss: Callable[[], int]) -> None:
        self.deadline = math.inf
        """When the next look is due, monotonic seconds."""
        self._populations = populations
        self._schedule = schedule
        self._rss = rss
        self._before: _Rates | None = None
        self._began = (0, 0, 0, 0)
        self._energy = self._held = 0.0
        self._looks = 0

    def begin_shadow(self, now: float) -> None:
        """Watch how the device does as it is."""
        self._before = None
        self._begin(now)

    def begin_trial(self, now: float) -> None:
        """Watch how it does from now on, compared with what was seen since `begin_shadow`."""
        ticks, steps, missed, contradictions = self._grown()
        self._before = _Rates(
            missed / max(ticks, 1),
            contradictions / max(steps, 1),
            self._energy / max(self._looks, 1),
            self._held / max(self._looks, 1),
        )
        self._begin(now)

    def end(self) -> None:
        """Watch no longer."""
        self.deadline = math.inf

    def look(self, now: float) -> Health:
        """Return how the device does; to be called at `deadline`."""
        self.deadline = now + HEALTH_S
        groups = self._populations.groups.values()
        agents = max(sum(len(group.names) for group in groups), 1)
        self._energy += sum(float(group.model_port.free_energy.sum()) for group in groups) / agents
        self._held += sum(len(group.silent(now)) for group in groups) / agents
        self._looks += 1
        ticks, steps, missed, contradictions = self._grown()
        energy, before = self._energy / self._looks, self._before
        if before is None:
            return Health(steps, ticks, 0, 0, energy, energy, agreed=steps, memory=self._rss())
        return Health(
            steps,
            ticks,
            _beyond(missed, before.missed * ticks),
            _beyond(contradictions, before.contradictions * steps),
            energy,
            before.free_energy,
            memory=self._rss(),
            held_rise=self._held / self._looks - before.held,
        )

    def _begin(self, now: float) -> None:
        self._began = self._counted()
        self._energy, self._held, self._looks = 0.0, 0.0, 0
        self.deadline = now + HEALTH_S

    def _grown(self) -> tuple[int, int, int, int]:
        ticks, steps, missed, contradictions = (
            now - then for now, then in zip(self._counted(), self._began, strict=True)
        )
        return ticks, steps, missed, contradictions

    def _counted(self) -> tuple[int, int, int, int]:
        groups = self._populations.groups
        return (
            sum(group.counters.ticks for group in groups.values()),
            sum(group.counters.steps for group in groups.values()),
            sum(self._schedule.missed(name) for name in groups),
            sum(group.model_port.contradictions for group in groups.values()),
        )


def _beyond(found: int, usual: float) -> int:
    return max(math.floor(found - usual), 0)
