"""Explains an agent's action: its beliefs, and the value of each policy.

The utility of a policy is how well the observations it leads to agree with the preferences C, and whether it
leads nearer to a goal of inductive planning; its information gain is how much they would tell about hidden
states and parameters (``engine.reference``). Both are computed in
float64 from the beliefs that the 8-bit engine held, so their sum may differ from the engine's in the fourth
digit; the engine's own posterior over policies is shown beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_agent.engine import Population, reference
from edge_agent.engine.binding import Binding
from edge_agent.errors import ConfigError
from edge_agent.runtime.recording.replay import Moment


@dataclass(frozen=True, slots=True)
class Option:
    """One policy: the actions of its first step, utility and information gain in nats, posterior."""

    policy: int
    actions: list[Any]
    utility: float
    information_gain: float
    posterior: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision of one agent; ``beliefs`` are (state, probability) of each factor, the likeliest first."""

    agent: str
    observed: list[str]
    free_energy: float
    beliefs: dict[str, list[tuple[str, float]]]
    options: list[Option]
    chosen: list[Any]


def explain(moment: Moment, agent: int, states: int = 5) -> Explanation:
    """Explain what ``agent`` did at ``moment``; of each factor the ``states`` likeliest are shown."""
    row = int(np.flatnonzero(moment.agents == agent)[0])
    population, binding = moment.population, moment.binding
    if not isinstance(population, Population):
        raise ConfigError(
            f"--explain: {moment.names[agent]} runs a network, which has no beliefs and policies to explain"
        )
    model = population.model
    arrays = model.arrays()
    beliefs = [population.beliefs(f)[agent].astype(np.float64) for f in range(len(model.B))]
    aimless = replace(arrays.options, use_inductive=False)
    indifferent = replace(arrays, C=tuple(np.zeros_like(c) for c in arrays.C), options=aimless)
    gain = reference.expected_free_energy(indifferent, beliefs, horizon=population.horizon)
    total = reference.expected_free_energy(arrays, beliefs, horizon=population.horizon)
    posterior = population.policy_posterior[agent]
    options = [
        Option(p, _values(binding, policy[0]), float(total[p] - gain[p]), float(gain[p]), float(posterior[p]))
        for p, policy in enumerate(model.policies)
    ]
    return Explanation(
        agent=moment.names[agent],
        observed=[
            f"{modality.name} {modality.text(int(code))}{_chance(moment, row, m, int(code))}"
            for m, (modality, code) in enumerate(zip(binding.modalities, moment.observed[row], strict=True))
        ],
        free_energy=float(population.free_energy[agent]),
        beliefs={
            name: _likeliest(belief, labels, states)
            for belief, (name, labels) in zip(beliefs, _factors(model.meta, model.num_states), strict=True)
        },
        options=sorted(options, key=lambda option: -option.posterior),
        chosen=_values(binding, moment.actions[row]),
    )


def _chance(moment: Moment, row: int, modality: int, code: int) -> str:
    """Return how probable an observed bin was, where a distribution was observed."""
    weights = None if moment.soft is None else moment.soft.get(modality)
    return "" if weights is None or not weights[row].any() else f" (probability {weights[row, code]:.3g})"


def _values(binding: Binding, actions: Any) -> list[Any]:
    return [control.values[int(a)] for control, a in zip(binding.controls, actions, strict=True)]


def _factors(meta: Any, sizes: tuple[int, ...]) -> list[tuple[str, list[str]]]:
    named = meta.get("factors") or [{}] * len(sizes)
    return [
        (str(entry.get("name", f)), [str(s) for s in entry.get("states") or range(size)])
        for f, (entry, size) in enumerate(zip(named, sizes, strict=True))
    ]


def _likeliest(belief: Any, labels: list[str], count: int) -> list[tuple[str, float]]:
    order = np.argsort(-belief, kind="stable")[:count]
    return [(labels[int(s)], float(belief[s])) for s in order]
