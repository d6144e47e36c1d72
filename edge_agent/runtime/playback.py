"""Replays a flight recording: makes every decision again and compares it, bit for bit.

Theory of operation. A ``begin`` frame gives the population its beliefs back; from there each ``step``
frame's observations must lead to the actions in it. Threads and instruction sets don't matter to the
engine's bits, so a recording from a board is replayed on a desk. The first action that differs ends the
comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import Model, Population
from edge_agent.errors import ConfigError
from edge_agent.runtime.binding import Binding
from edge_agent.runtime.names import AgentNames

FindModel = Callable[[str, str], Model]
"""(path in the recording, digest) -> the model; raises ConfigError if it is not to be had."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first decision that did not come out as recorded."""

    population: str
    tick: int
    agent: int
    recorded: list[int]
    replayed: list[int]


@dataclass(slots=True)
class Playback:
    """What a replay found."""

    steps: int = 0
    decisions: int = 0
    populations: dict[str, int] = field(default_factory=dict)
    difference: Difference | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """A population right after a step; ``binding`` and ``names`` say what is what."""

    population: Population
    binding: Binding
    names: AgentNames
    observed: NDArray[np.int16]
    actions: NDArray[np.int16]
    agents: NDArray[np.intp]


@dataclass(slots=True)
class _Running:
    population: Population
    model: Model
    names: AgentNames
    last: int = -1


def replay(
    frames: Iterable[Mapping[str, Any]],
    find_model: FindModel,
    watch: Callable[[str, int, Moment], bool] | None = None,
) -> Playback:
    """Replay ``frames``; ``watch`` (population, tick, moment) sees each step and ends the replay with True.

    Raises
    ------
    ConfigError
        A model is not to be had, or the recording does not begin with its populations.
    """
    found = Playback()
    running: dict[str, _Running] = {}
    for entry in frames:
        name = str(entry["population"])
        if entry["kind"] == "begin":
            running[name] = _begin(entry, find_model)
            found.populations[name] = int(entry["size"])
            continue
        if name not in running:
            raise ConfigError(f"recording: population {name} steps before it begins")
        if entry["kind"] in _CHANGES:
            _CHANGES[entry["kind"]](running[name].population, entry)
            continue
        moment = _step(running[name], entry)
        recorded = np.frombuffer(entry["actions"], "<i2").reshape(moment.actions.shape)
        found.steps += 1
        found.decisions += len(recorded)
        if watch is not None and watch(name, int(entry["tick"]), moment):
            return found
        wrong = np.flatnonzero((recorded != moment.actions).any(axis=1))
        if wrong.size:
            first = int(wrong[0])
            found.difference = Difference(
                name,
                int(entry["tick"]),
                int(moment.agents[first]),
                recorded[first].tolist(),
                moment.actions[first].tolist(),
            )
            return found
    return found


def _plan(population: Population, entry: Mapping[str, Any]) -> None:
    population.plan(horizon=entry["horizon"])


def _prefer(population: Population, entry: Mapping[str, Any]) -> None:
    population.prefer({int(m): values for m, values in entry["added"].items()})


def _believe(population: Population, entry: Mapping[str, Any]) -> None:
    beliefs = np.frombuffer(entry["beliefs"], "<f4").reshape(population.size, -1)
    population.set_beliefs(int(entry["factor"]), beliefs)


_CHANGES = {"plan": _plan, "prefer": _prefer, "believe": _believe}


def _begin(entry: Mapping[str, Any], find_model: FindModel) -> _Running:
    model = find_model(str(entry["bundle"]), str(entry["digest"]))
    population = Population(model, int(entry["size"]), seed=int(entry["seed"]))
    population.restore(entry["beliefs"])
    _plan(population, entry)
    _prefer(population, {"added": entry.get("prefer", {})})
    names = entry["names"]
    return _Running(population, model, AgentNames(names, population.size, str(entry["population"])))


def _step(running: _Running, entry: Mapping[str, Any]) -> Moment:
    n, modalities, factors = entry["shape"]
    observed = np.frombuffer(entry["observed"], "<i2").reshape(n, modalities)
    everyone = not entry["agents"]
    agents = np.arange(n) if everyone else np.frombuffer(entry["agents"], "<i4").astype(np.intp)
    actions = running.population.step(observed, None if everyone else agents).astype(np.int16)
    model = running.model
    binding = Binding(model.meta, model.num_obs, model.num_controls, str(entry["population"]))
    return Moment(running.population, binding, running.names, observed, actions.reshape(n, factors), agents)
