"""The counters of each population, as telemetry and Home Assistant report them."""

from __future__ import annotations

from edge_agent.runtime.population import models
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.step_schedule import StepSchedule


def population_counters(
    populations: Populations, schedule: StepSchedule
) -> dict[str, dict[str, int | float]]:
    """Return the counters of each population, for `wire.bodies.TELEMETRY`."""
    return {name: _counters(group, schedule.missed(name)) for name, group in populations.groups.items()}


def _counters(group: Group, missed: int) -> dict[str, int | float]:
    learned = models.learned(group.model_port) or {}
    drift = None if group.drift is None else group.drift.figure
    return {
        **({} if drift is None else {"drift": round(drift, 3)}),
        **{f"learned_{name}": value for name, value in learned.items()},
        "tick": group.counters.ticks,
        "steps": group.counters.steps,
        "decisions": group.counters.steps * len(group.binding.controls),
        "contradictions": group.model_port.contradictions,
        "missed": missed,
        "observations": group.counters.observations,
        "actions": group.counters.actions,
        "silent": group.counters.stale,
        "faults": sum(group.inputs.faults.values()),
        "latency_p99_ms": round(group.latency.quantile(0.99) * 1e3, 3),
    }
