"""Explains an agent's action: its beliefs, and the value of each policy.

The utility of a policy is how well the observations it leads to agree with the preferences C, and whether it
leads nearer to a goal of inductive planning; its information gain is how much they would tell about hidden
states and parameters (``engine.reference``). Both are computed in
float64 from the beliefs that the 8-bit engine held, so their sum may differ from the engine's in the fourth
digit; the engine's own posterior over policies is shown beside them. Of a model that searches they are those
of the next step alone, and the posterior is what the whole search found.

A population that learned is explained under the codes that decided the tick, and beside it under the
delivered ones: the same beliefs before the tick, the same observation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_agent.engine import Population, boundary, reference
from edge_agent.engine.binding import Binding
from edge_agent.errors import ConfigError
from edge_agent.runtime.population import models
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
    """One decision of one agent; ``beliefs`` are (state, probability) of each factor, the likeliest first.

    ``window``: ticks that it inferred over, this one included; None of an agent that filters.
    ``learned``: agents' ticks that were counted, and how often new codes had been made when this was decided;
    ``delivered``: the same decision under the delivered codes. None where nothing is learned.
    """

    agent: str
    observed: list[str]
    free_energy: float
    beliefs: dict[str, list[tuple[str, float]]]
    options: list[Option]
    chosen: list[Any]
    window: int | None = None
    learned: dict[str, int] | None = None
    delivered: Explanation | None = None


def explain(moment: Moment, agent: int, states: int = 5) -> Explanation:
    """Explain what ``agent`` did at ``moment``; of each factor the ``states`` likeliest are shown."""
    row = int(np.flatnonzero(moment.agents == agent)[0])
    population = moment.population
    if not isinstance(population, Population):
        raise ConfigError(
            f"--explain: {moment.names[agent]} runs a network, which has no beliefs and policies to explain"
        )
    if models.has_own_models(population):
        population, agent = population.agents[agent], 0
    if population.runner is None:
        return _decision(moment, row, population, agent, moment.actions[row], states)
    from edge_agent.engine.counts.again import again  # few models learn
    from edge_agent.engine.counts.learner import Learner

    learner = population.runner
    if not isinstance(learner, Learner):
        raise TypeError(f"{type(learner).__name__} runs the ticks, expected a Learner")
    soft = {m: weights[row] for m, weights in (moment.soft or {}).items()}
    own, other = again(learner, agent, moment.observed[row], soft)
    chosen = [int(action) for action in other.state[1][0, :, 0]]
    return replace(
        _decision(moment, row, own, 0, moment.actions[row], states),
        learned={
            "updates": learner.updates,
            "swaps": learner.swaps - (learner.decided is not population.model),
        },
        delivered=_decision(moment, row, other, 0, chosen, states),
    )


def _decision(
    moment: Moment, row: int, population: Population, agent: int, actions: Any, states: int
) -> Explanation:
    """Return what ``agent`` of ``population``, which is row ``row`` of the moment, decided: ``actions``."""
    model, binding = population.model, moment.binding
    arrays = model.arrays()
    beliefs = [population.beliefs(f, [agent])[0].astype(np.float64) for f in range(len(model.B))]
    horizon = population.horizon
    if arrays.options.sophisticated:
        horizon, arrays = 1, replace(arrays, options=replace(arrays.options, sophisticated=False))
    aimless = replace(arrays.options, use_inductive=False)
    indifferent = replace(arrays, C=tuple(np.zeros_like(c) for c in arrays.C), options=aimless)
    gain = reference.expected_free_energy(indifferent, beliefs, horizon=horizon)
    total = reference.expected_free_energy(arrays, beliefs, horizon=horizon)
    posterior = population.evaluate([agent])[1][0]
    options = [
        Option(p, _values(binding, policy[0]), float(total[p] - gain[p]), float(gain[p]), float(posterior[p]))
        for p, policy in enumerate(model.policies)
    ]
    return Explanation(
        agent=moment.names[int(moment.agents[row])],
        observed=[
            f"{modality.name} {modality.text(int(code))}{_chance(moment, row, m, int(code))}"
            for m, (modality, code) in enumerate(zip(binding.modalities, moment.observed[row], strict=True))
        ],
        free_energy=float(population.free_energy[agent]),
        beliefs={
            name: _likeliest(belief, labels, states)
            for belief, (name, labels) in zip(
                beliefs, factor_names(model.meta, model.num_states), strict=True
            )
        },
        options=sorted(options, key=lambda option: -option.posterior),
        chosen=_values(binding, actions),
        window=boundary.window_ticks(population, agent),
    )


def _chance(moment: Moment, row: int, modality: int, code: int) -> str:
    """Return how probable an observed bin was, where a distribution was observed."""
    weights = None if moment.soft is None else moment.soft.get(modality)
    return "" if weights is None or not weights[row].any() else f" (probability {weights[row, code]:.3g})"


def _values(binding: Binding, actions: Any) -> list[Any]:
    return [control.values[int(a)] for control, a in zip(binding.controls, actions, strict=True)]


def factor_names(meta: Any, sizes: tuple[int, ...]) -> list[tuple[str, list[str]]]:
    """Return the names of the factors, each with those of its states; numbers where there are none."""
    named = meta.get("factors") or [{}] * len(sizes)
    return [
        (str(entry.get("name", f)), [str(s) for s in entry.get("states") or range(size)])
        for f, (entry, size) in enumerate(zip(named, sizes, strict=True))
    ]


def _likeliest(belief: Any, labels: list[str], count: int) -> list[tuple[str, float]]:
    order = np.argsort(-belief, kind="stable")[:count]
    return [(labels[int(s)], float(belief[s])) for s in order]
