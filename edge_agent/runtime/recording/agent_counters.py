"""Counts one agent's steps, contradictions, free energy and latency for some seconds, when somebody asks.

Theory of operation. The engine counts contradictions for all agents of a population together. So a request
watches its agent: before a tick is closed the agent's prior is taken, after it the definition of a
contradiction (`engine.reference.contradicts`) is applied to what it observed, in float64. Latency is the time
from the newest reading of an agent that was heard from to its decision. Nothing is counted, and nothing costs
anything, while nobody asks. At most `MAX_ASKED` agents are watched at once, of models that are small enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.population import Population
from edge_agent.errors import ConfigError
from edge_agent.protocol.ports import Clock
from edge_agent.runtime.population.group import Group, Step
from edge_agent.runtime.recording.decision_watch import Answer

MAX_ASKED = 4
MAX_SECONDS = 60
MAX_ENTRIES = 200_000
"""Entries of A and B: a contradiction is looked for on the daemon's thread."""


@dataclass(slots=True)
class _Watched:
    name: str
    agent: int
    answer: Answer
    began: float
    until: float
    arrays: ModelArrays | None
    prior: list[Any] | None = None
    heard: float | None = None
    steps: int = 0
    decisions: int = 0
    contradictions: int = 0
    energies: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)


class AgentCounters:
    """The agents that are watched.

    Parameters
    ----------
    clock : Clock
        Monotonic time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: list[_Watched] = []

    def __bool__(self) -> bool:
        return bool(self._asked)

    @property
    def deadline(self) -> float:
        """When the next request ends, monotonic seconds."""
        return min((asked.until for asked in self._asked), default=math.inf)

    def ask(self, name: str, group: Group, agent: int, seconds: int, answer: Answer) -> None:
        """Count ``agent`` of population ``name`` for so long; ``answer`` gets the counters from `run_once`.

        Raises
        ------
        ConfigError
            Too many agents are watched, or the model is too large.
        """
        port = group.model_port
        if len(self._asked) >= MAX_ASKED:
            raise ConfigError(f"counters: {MAX_ASKED} agents are watched already")
        arrays = None
        if isinstance(port, Population):
            entries = sum(tensor.rows * tensor.width for tensor in (*port.model.A, *port.model.B))
            if entries > MAX_ENTRIES:
                raise ConfigError(
                    f"population {name}: its model is too large to count one agent's contradictions"
                )
            arrays = port.model.arrays()
        now = self._clock.monotonic()
        self._asked.append(_Watched(name, agent, answer, now, now + seconds, arrays))

    def before(self, name: str, group: Group) -> None:
        """Take the priors of the watched agents of a population that is about to step or decide."""
        from edge_agent.engine import boundary

        for asked in self._asked:
            if asked.name == name:
                asked.heard = group.observations.heard(asked.agent)
                port = group.model_port
                if asked.arrays is not None and isinstance(port, Population):
                    asked.prior = boundary.prior(port, asked.arrays, asked.agent)

    def after(self, name: str, group: Group, step: Step, within: bool = False) -> None:
        """Count the agents that stepped; ``within``: they decided within a tick."""
        for asked in self._asked:
            rows = np.flatnonzero(step.agents == asked.agent)
            if asked.name != name or not rows.size:
                continue
            if asked.heard is not None:
                asked.latencies.append(self._clock.monotonic() - asked.heard)
            if within:
                asked.decisions += 1
                continue
            asked.steps += 1
            energy = float(group.model_port.free_energy[asked.agent])
            asked.energies.append(energy)
            asked.contradictions += _is_contradiction(asked, step, int(rows[0]), energy)

    def run_once(self) -> None:
        """Answer the requests whose time is over."""
        now = self._clock.monotonic()
        for asked in [asked for asked in self._asked if now >= asked.until]:
            self._asked.remove(asked)
            asked.answer(_result(asked, now))


def _is_contradiction(asked: _Watched, step: Step, row: int, energy: float) -> bool:
    from edge_agent.engine import reference

    if asked.arrays is None or asked.prior is None:
        return False
    observed: list[Any] = [int(code) for code in step.observed[row]]
    for modality, spread in (step.soft or {}).items():
        if np.isfinite(spread[row]).all() and spread[row].sum() > 0:
            observed[modality] = spread[row]
    return reference.contradicts(asked.arrays, asked.prior, observed, energy)


def _result(asked: _Watched, now: float) -> dict[str, Any]:
    energies, latencies = asked.energies, asked.latencies
    return {
        "population": asked.name,
        "seconds": round(now - asked.began, 3),
        "steps": asked.steps,
        "decisions": asked.decisions,
        "contradictions": asked.contradictions if asked.arrays is not None else None,
        "free_energy_mean": round(float(np.mean(energies)), 4) if energies else None,
        "free_energy_max": round(max(energies), 4) if energies else None,
        "latency_mean_ms": round(1e3 * float(np.mean(latencies)), 3) if latencies else None,
        "latency_max_ms": round(1e3 * max(latencies), 3) if latencies else None,
    }
