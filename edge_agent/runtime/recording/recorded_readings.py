"""Readings and actions of a flight recording: bins alone, and ticks in place of times.

A recording has no clock. A step's time is its tick times the seconds per tick, from the first tick in the
file. Ticks that passed before a step without one of their own come before it, with what was observed in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.engine.binding import Binding
from edge_agent.errors import ConfigError
from edge_agent.wire.readings import MAX_EVENTS, ControlNames, ModalityNames, Readings

FindBinding = Callable[[str, str], tuple[Binding, float]]
"""(path in the recording, digest) -> modalities and controls, seconds per tick; ConfigError if missing."""
RESTART_TICKS = 100
"""Ticks between two runs of the daemon in one recording, which does not say how long it was off."""


@dataclass(slots=True)
class _Steps:
    ticks: list[NDArray[np.int64]] = field(default_factory=list)
    agents: list[NDArray[np.int64]] = field(default_factory=list)
    observed: list[NDArray[Any]] = field(default_factory=list)
    actions: list[NDArray[np.int64]] = field(default_factory=list)
    passed: list[Mapping[str, Any]] = field(default_factory=list)
    """Frames of the ticks that passed since the last step."""
    count: int = 0
    offset: int = 0


def readings_of(
    frames: Iterable[Mapping[str, Any]],
    population: str,
    find: FindBinding,
    names: AgentNames,
) -> Readings:
    """Return what ``population`` observed and did.

    Parameters
    ----------
    frames : iterable of mapping
        Of the recording, in order.
    population : str
    find : callable
        Finds the bundle that a frame names.
    names : AgentNames
        The population's agents.

    Raises
    ------
    ConfigError
        The recording has no such population, another number of agents, or frames that do not fit it.
    """
    steps, binding, tick_seconds = _Steps(), None, 0.0
    for entry in frames:
        if entry["population"] != population:
            continue
        if entry["kind"] == "begin":
            if int(entry["size"]) != len(names):
                found = f"{entry['size']} agents of {population}"
                raise ConfigError(f"recording: found {found}, expected {len(names)} as in the configuration")
            model, tick_seconds = find(str(entry["bundle"]), str(entry["digest"]))
            if binding is not None and not model.same(binding):
                raise ConfigError(f"recording: {population} changes its modalities; expected one model")
            binding = model
            steps.passed.clear()
        elif entry["kind"] == "pass":
            steps.passed.append(entry)
        elif entry["kind"] == "step":
            if binding is None:
                raise ConfigError(f"recording: population {population} steps before it begins")
            _add(steps, entry, binding, len(names))
            if steps.count > MAX_EVENTS:
                raise ConfigError(f"recording: found more than {MAX_EVENTS} readings; expected fewer")
    if binding is None or not steps.ticks:
        raise ConfigError(f"recording: found no steps of population {population}, expected some")
    return _readings(steps, binding, names, tick_seconds)


def _add(steps: _Steps, entry: Mapping[str, Any], binding: Binding, size: int) -> None:
    count = len(entry["agents"]) // 4 or size
    shape = [count, len(binding.modalities), len(binding.controls)]
    tick = int(entry["tick"])
    if entry["shape"] != shape:
        raise ConfigError(f"recording: tick {tick} is of shape {entry['shape']}, expected {shape}")
    dtype = np.dtype(binding.dtype).newbyteorder("<")
    observed = _array(entry, "observed", dtype, (count, shape[1]))
    actions = _array(entry, "actions", np.dtype("<i2"), (count, shape[2])).astype(np.int64)
    agents = (
        _array(entry, "agents", np.dtype("<i4"), (count,)).astype(np.int64)
        if entry["agents"]
        else np.arange(size)
    )
    if agents.size and not (agents.min() >= 0 and agents.max() < size):
        raise ConfigError(f"recording: tick {tick}: found agent {agents.max()}, expected 0 to {size - 1}")
    if entry.get("held"):
        held = np.frombuffer(entry["held"], "<i4")
        executed = _array(entry, "executed", np.dtype("<i2"), (len(held), shape[2]))
        place = {int(agent): row for row, agent in enumerate(agents)}
        actions = actions.copy()
        for agent, row in zip(held.tolist(), executed, strict=True):
            if agent in place:
                actions[place[agent]] = row
    if steps.ticks and tick + steps.offset < steps.ticks[-1][-1]:
        steps.offset = int(steps.ticks[-1][-1]) + RESTART_TICKS - tick
    for number, passed in enumerate(steps.passed):
        steps.ticks.append(np.full(size, tick + steps.offset - len(steps.passed) + number))
        steps.agents.append(np.arange(size))
        steps.observed.append(_array(passed, "observed", dtype, (size, shape[1])))
        steps.actions.append(np.full((size, shape[2]), -1, np.int64))
        steps.count += size * shape[1]
    steps.passed.clear()
    steps.ticks.append(np.full(count, tick + steps.offset))
    steps.agents.append(agents)
    steps.observed.append(observed)
    steps.actions.append(actions)
    steps.count += observed.size


def _array(entry: Mapping[str, Any], key: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    data = entry.get(key, b"")
    expected = int(np.prod(shape)) * dtype.itemsize
    if len(data) != expected:
        raise ConfigError(f"recording: {entry['kind']}: {key} has {len(data)} bytes, expected {expected}")
    return np.frombuffer(data, dtype).reshape(shape)


def _readings(steps: _Steps, binding: Binding, names: AgentNames, tick_seconds: float) -> Readings:
    ticks, agents = np.concatenate(steps.ticks), np.concatenate(steps.agents)
    observed, actions = np.concatenate(steps.observed), np.concatenate(steps.actions)
    time = (ticks - ticks.min()) * tick_seconds
    rows, columns = np.nonzero(binding.observed(observed))
    codes = observed[rows, columns]
    numbers = binding.dtype is np.float32
    controls = {output.control.name: output for output in reversed(binding.outputs)}
    values = [
        actions[:, o.column] if o.part is None else _parts(o.part, actions[:, o.column])
        for o in controls.values()
    ]
    acted = np.stack(values, axis=1) if values else np.zeros((len(ticks), 0), np.int64)
    act_rows, act_columns = np.nonzero(acted >= 0)
    return Readings(
        tuple(names),
        tuple(ModalityNames(m.name, m.unit, m.edges, m.labels) for m in binding.modalities),
        tuple(ControlNames(n, tuple(str(v) for v in o.control.values)) for n, o in controls.items()),
        time[rows],
        agents[rows],
        columns.astype(np.int64),
        codes.astype(np.float64) if numbers else np.full(len(rows), np.nan),
        np.full(len(rows), -1) if numbers else codes.astype(np.int64),
        time[act_rows],
        agents[act_rows],
        act_columns.astype(np.int64),
        acted[act_rows, act_columns],
        tick_seconds,
        "ticks",
    )


def _parts(part: NDArray[np.int16], column: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(column < 0, -1, part[np.maximum(column, 0)]).astype(np.int64)
