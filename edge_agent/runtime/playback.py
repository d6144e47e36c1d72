"""Replays a flight recording: makes every decision again and compares it, bit for bit.

Theory of operation. A ``begin`` frame gives the population its beliefs back; from there each ``step``
frame's observations must lead to the actions in it. Threads and instruction sets don't matter to the
engine's bits, so a recording from a board is replayed on a desk; a network's runtime gives the same bits on
the same kind of machine only. The first action that differs ends the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import Population
from edge_agent.errors import ConfigError
from edge_agent.runtime import models
from edge_agent.runtime.binding import Binding
from edge_agent.runtime.group import Stepper
from edge_agent.runtime.names import AgentNames

if TYPE_CHECKING:
    from edge_agent.runtime.models import AnyModel

FindModel = Callable[[str, str], "AnyModel"]
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

    population: Stepper
    binding: Binding
    names: AgentNames
    observed: NDArray[Any]
    actions: NDArray[np.int16]
    agents: NDArray[np.intp]


@dataclass(slots=True)
class _Running:
    population: Stepper
    binding: Binding
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
        if entry["kind"] == "act":
            _act(running[name].population, entry)
            continue
        moment = _step(running[name], entry)
        recorded = np.frombuffer(entry["actions"], "<i2").reshape(moment.actions.shape)
        found.steps += 1
        found.decisions += len(recorded)
        if watch is not None and watch(name, int(entry["tick"]), moment):
            return found
        if "held" in entry:
            _act(running[name].population, entry)
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


def _plan(population: Stepper, entry: Mapping[str, Any]) -> None:
    population.plan(horizon=entry["horizon"])


def _prefer(population: Stepper, entry: Mapping[str, Any]) -> None:
    _agents(population).prefer({int(m): values for m, values in entry["added"].items()})


def _believe(population: Stepper, entry: Mapping[str, Any]) -> None:
    agents = _agents(population)
    beliefs = np.frombuffer(entry["beliefs"], "<f4").reshape(agents.size, -1)
    agents.set_beliefs(int(entry["factor"]), beliefs)


def _agents(population: Stepper) -> Population:
    if not isinstance(population, Population):
        raise ConfigError("recording: preferences or beliefs of a network, which has none")
    return population


_CHANGES = {"plan": _plan, "prefer": _prefer, "believe": _believe}


def _begin(entry: Mapping[str, Any], find_model: FindModel) -> _Running:
    model = find_model(str(entry["bundle"]), str(entry["digest"]))
    size, where = int(entry["size"]), str(entry["bundle"])
    population = models.populate(model, size, int(entry["seed"]))
    population.restore(entry["beliefs"])
    _plan(population, entry)
    if entry.get("prefer"):
        _prefer(population, {"added": entry["prefer"]})
    names = entry["names"]
    names_of = AgentNames(names, size, str(entry["population"]))
    return _Running(population, models.bind(model, where), names_of)


def _act(population: Stepper, entry: Mapping[str, Any]) -> None:
    agents = np.frombuffer(entry["held"], "<i4").astype(np.intp)
    population.act(np.frombuffer(entry["executed"], "<i2").reshape(len(agents), -1), agents)


def _step(running: _Running, entry: Mapping[str, Any]) -> Moment:
    n, modalities, factors = entry["shape"]
    observed = np.frombuffer(entry["observed"], entry.get("dtype", "<i2")).reshape(n, modalities)
    everyone = not entry["agents"]
    agents = np.arange(n) if everyone else np.frombuffer(entry["agents"], "<i4").astype(np.intp)
    actions = running.population.step(observed, None if everyone else agents).astype(np.int16)
    actions = actions.reshape(n, factors)
    return Moment(running.population, running.binding, running.names, observed, actions, agents)
