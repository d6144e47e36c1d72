"""Replays a flight recording: repeats every decision and compares it bit for bit.

Theory of operation. A ``begin`` frame gives the population its beliefs back; from there each ``step``
frame's observations must lead to the actions in it. Threads and instruction sets don't matter to the
engine's bits, so a recording from a board is replayed on a desk; a network's runtime gives the same bits on
the same kind of machine only. The first action that differs ends the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.templates import check_fields
from edge_agent.engine import Population
from edge_agent.engine.binding import Binding
from edge_agent.errors import ConfigError
from edge_agent.runtime.population import models, spread
from edge_agent.runtime.population.population_port import PopulationPort
from edge_agent.runtime.population.spread import Distributions

if TYPE_CHECKING:
    from edge_agent.runtime.population.models import AnyModel

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

    population: PopulationPort
    binding: Binding
    names: AgentNames
    observed: NDArray[Any]
    actions: NDArray[np.int16]
    agents: NDArray[np.intp]
    soft: Distributions | None = None


@dataclass(slots=True)
class _Running:
    population: PopulationPort
    size: int
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
        A model is not to be had, the recording does not begin with its populations, or what it holds does
        not fit them.
    ObservationError
        An observation in it is not one that the model can take.
    """
    found = Playback()
    running: dict[str, _Running] = {}
    for entry in frames:
        name = str(entry["population"])
        if entry["kind"] == "begin":
            running[name] = _begin(entry, find_model)
            found.populations[name] = int(entry["size"])
            continue
        if entry["kind"] == "override":  # what followed from it is in other frames
            continue
        if name not in running:
            raise ConfigError(f"recording: population {name} steps before it begins")
        if entry["kind"] in _CHANGES:
            _CHANGES[entry["kind"]](running[name].population, entry)
            continue
        if entry["kind"] in _OBSERVED:
            _OBSERVED[entry["kind"]](running[name], entry)
            continue
        moment = _step(running[name], entry)
        recorded = _array(entry, "actions", "<i2", moment.actions.shape)
        found.steps += 1
        found.decisions += len(recorded)
        if watch is not None and entry["kind"] == "step" and watch(name, int(entry["tick"]), moment):
            return found
        if "held" in entry:
            _act(running[name], entry)
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


def _plan(population: PopulationPort, entry: Mapping[str, Any]) -> None:
    population.plan(horizon=_horizon(entry))


def _prefer(population: PopulationPort, entry: Mapping[str, Any]) -> None:
    try:
        added = {int(m): np.array(values, np.float64) for m, values in entry["added"].items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"recording: preferences are not numbers by modality ({error})") from error
    _agents(population).prefer(added)


def _believe(population: PopulationPort, entry: Mapping[str, Any]) -> None:
    agents, factor = _agents(population), int(entry["factor"])
    states = agents.model.num_states
    if not 0 <= factor < len(states):
        raise ConfigError(f"recording: factor {factor}, expected 0 to {len(states) - 1}")
    agents.set_beliefs(factor, _array(entry, "beliefs", "<f4", (agents.size, states[factor])))


def _agents(population: PopulationPort) -> Population:
    if not isinstance(population, Population):
        raise ConfigError("recording: preferences or beliefs of a network, which has none")
    return population


_CHANGES = {"plan": _plan, "prefer": _prefer, "believe": _believe}


def _begin(entry: Mapping[str, Any], find_model: FindModel) -> _Running:
    model = find_model(str(entry["bundle"]), str(entry["digest"]))
    size, beliefs = int(entry["size"]), entry["beliefs"]
    if size > len(beliefs):  # an agent has at least a byte of belief
        raise ConfigError(f"recording: {size} agents, their beliefs are {len(beliefs)} bytes")
    within = bool(entry.get("redecides"))
    every = None if entry.get("learn_every") is None else int(entry["learn_every"])
    own, seed = bool(entry.get("learn_own")), int(entry["seed"])
    population = models.populate(model, size, seed, redecides=within, learn_every=every, own=own)
    population.restore(beliefs)
    _plan(population, entry)
    if entry.get("prefer"):
        _prefer(population, {"added": entry["prefer"]})
    return _Running(population, size, models.bind(model, str(entry["bundle"])), _names(entry, size))


def _horizon(entry: Mapping[str, Any]) -> int | None:
    horizon = entry.get("horizon")
    if horizon is not None and (isinstance(horizon, bool) or not isinstance(horizon, int)):
        raise ConfigError(f"recording: horizon is {horizon!r}, expected a number of steps or none")
    return horizon


def _names(entry: Mapping[str, Any], size: int) -> AgentNames:
    match entry.get("names"):
        case str(names):
            check_fields(names, "recording: names", {"index", "population"})
        case list(names) if len(names) == size and all(isinstance(name, str) for name in names):
            pass
        case found:
            raise ConfigError(f"recording: names are {str(found)[:60]}, expected {size} of them or a pattern")
    return AgentNames(names, size, str(entry["population"]))


def _array(entry: Mapping[str, Any], key: str, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return ``entry[key]`` as an array; ``shape`` is what it must have."""
    data = entry.get(key, b"")
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if len(data) != expected:
        raise ConfigError(f"recording: {entry['kind']}: {key} has {len(data)} bytes, expected {expected}")
    return np.frombuffer(data, dtype).reshape(shape)


def _act(running: _Running, entry: Mapping[str, Any]) -> None:
    n = len(entry["held"]) // 4
    agents = _array(entry, "held", "<i4", (n,)).astype(np.intp)
    executed = _array(entry, "executed", "<i2", (n, len(running.binding.controls)))
    running.population.act(executed, agents)


def _pass(running: _Running, entry: Mapping[str, Any]) -> None:
    binding = running.binding
    shape = (running.size, len(binding.modalities))
    observed = _array(entry, "observed", np.dtype(binding.dtype).newbyteorder("<"), shape)
    spread.infer(running.population, observed, _soft(entry, binding, running.size))


_OBSERVED = {"act": _act, "pass": _pass}


def _step(running: _Running, entry: Mapping[str, Any]) -> Moment:
    binding = running.binding
    everyone = not entry["agents"]
    n = running.size if everyone else len(entry["agents"]) // 4
    shape = [n, len(binding.modalities), len(binding.controls)]
    if entry["shape"] != shape:
        raise ConfigError(f"recording: tick {entry['tick']} is of shape {entry['shape']}, expected {shape}")
    observed = _array(entry, "observed", np.dtype(binding.dtype).newbyteorder("<"), (n, shape[1]))
    agents = np.arange(n) if everyone else _array(entry, "agents", "<i4", (n,)).astype(np.intp)
    soft = _soft(entry, binding, n)
    if entry["kind"] == "decide":
        actions = spread.decide(running.population, observed, agents, soft)
    else:
        actions = spread.step(running.population, observed, None if everyone else agents, soft)
    actions = actions.astype(np.int16).reshape(n, shape[2])
    return Moment(running.population, binding, running.names, observed, actions, agents, soft)


def _soft(entry: Mapping[str, Any], binding: Binding, n: int) -> Distributions | None:
    """Return the distributions that stand in place of bins, None where there are none."""
    found = entry.get("soft")
    if found is None:
        return None
    sizes = {str(m): modality.size for m, modality in enumerate(binding.modalities)}
    for key in found:
        if key not in sizes:
            raise ConfigError(
                f"recording: {entry['kind']}: soft has modality {str(key)[:60]!r}, "
                f"expected one of {', '.join(sizes)}"
            )
    where = {"kind": f"{entry['kind']}: soft"} | found
    return {int(key): _array(where, key, "<f4", (n, sizes[key])) for key in found}
