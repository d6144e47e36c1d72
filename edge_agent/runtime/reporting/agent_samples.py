"""Takes the samples that the ``telemetry`` sections name, at their intervals.

Theory of operation. Nothing is done per step: at the end of an interval the entry's figures are read from
where they stand, for all its agents at once (beliefs from the engine's codes, actions from what was last
sent, readings from the newest numbers that the inputs noted, `ReadingNumbers`). They go into the buffer of
`protocol.sample_buffer`. A population that is suspended gives no samples. When a population or its model
changes, names are looked up again; an entry whose names are no longer there pauses, and the log says so.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.telemetry_records import FigureConfig
from edge_agent.engine.binding import FLOAT32_MAX
from edge_agent.engine.population import Population
from edge_agent.errors import ConfigError
from edge_agent.protocol.sample_buffer import SampleBuffer
from edge_agent.runtime.population.channels import parse, parse_pointer, resolve
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.inputs import ReadingNumbers, Source
from edge_agent.runtime.population.subscriptions import Subscriptions
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.reporting import sample_plan
from edge_agent.runtime.reporting.sample_plan import Block, Entry, SamplePlan

log = logging.getLogger("edge_agent")

FileReader = Callable[[Sequence[str], float], Source]
"""(paths, interval in seconds) -> what reads them."""


@dataclass(slots=True)
class _Active:
    """An entry at work: what it is now, where its readings' numbers are, and when it is due."""

    planned: Entry
    entry: Entry | None
    numbers: NDArray[np.float32]
    own: dict[str, NDArray[np.float32]]
    """The newest value of each figure of the user's own (n,), NaN: none since the last sample."""
    next: float = 0.0
    sources: list[tuple[FigureConfig, Source]] = field(default_factory=list)


class AgentSamples:
    """The sampler.

    Parameters
    ----------
    plan : SamplePlan
        What is wanted.
    arrays : mapping of str to ndarray
        The arena's arrays for its columns.
    populations : Populations
        What runs; the sampler registers its listeners there.
    subscriptions : Subscriptions
        Where topics of own figures are asked for.
    read_files : callable
        Makes what reads files.
    """

    def __init__(
        self,
        plan: SamplePlan,
        arrays: Mapping[str, NDArray[Any]],
        populations: Populations,
        subscriptions: Subscriptions,
        read_files: FileReader,
    ) -> None:
        self.buffer = SampleBuffer(plan.names, arrays)
        self._populations = populations
        self._entries: list[_Active] = []
        for number, entry in enumerate(plan.entries):
            own = {
                block.name: np.full(len(entry.agents), math.nan, np.float32)
                for block in entry.blocks
                if block.figure is not None
            }
            active = _Active(entry, None, arrays[f"numbers_{number}"], own)
            self._entries.append(active)
            self._connect(active, subscriptions, read_files)
        populations.added.append(self._look_up)
        populations.exchanged.append(self._look_up_all)

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds."""
        return min((active.next for active in self._entries), default=math.inf)

    @property
    def paused(self) -> int:
        """Entries whose names are not there now."""
        return sum(active.entry is None for active in self._entries)

    def run_once(self, now: float, t: float) -> None:
        """Take the samples that are due; ``now`` is monotonic, ``t`` Unix time."""
        for active in self._entries:
            if now < active.next:
                continue
            pause = active.planned.config.interval_s
            active.next = max(active.next + pause, now) if active.next else now + pause
            group = self._populations.groups.get(active.planned.config.population)
            if active.entry is not None and group is not None and not group.suspended:
                self._sample(active, active.entry, group, now, t)

    def _sample(self, active: _Active, entry: Entry, group: Group, now: float, t: float) -> None:
        agents = entry.agents.astype(np.intp)
        row = 0
        for block in entry.blocks:
            series = np.arange(block.first, block.first + len(agents))
            if block.kind == "reading":
                values = _readings(group, block.column, agents, active.numbers[row], now)
                row += 1
            elif block.kind == "action":
                values = _actions(group, block.name, agents)
            elif block.figure is not None:
                values = self._own(active, block)
            else:
                values = _inferred(group, block, agents)
            self.buffer.add(series, values, t)

    def _own(self, active: _Active, block: Block) -> NDArray[np.float32]:
        for figure, source in active.sources:
            if figure is block.figure:
                for agent, read in source.read():
                    number = read * figure.scale + figure.offset
                    if abs(number) <= FLOAT32_MAX:
                        active.own[block.name][agent] = number
        values = active.own[block.name].copy()
        active.own[block.name][:] = math.nan
        return values

    def _connect(self, active: _Active, subscriptions: Subscriptions, read_files: FileReader) -> None:
        entry = active.planned
        for block in entry.blocks:
            figure = block.figure
            if figure is None:
                continue
            places = [(n, entry.names[int(agent)], int(agent)) for n, agent in enumerate(entry.agents)]
            population = entry.config.population
            if figure.path:
                paths = [
                    figure.path.format(agent=name, index=index, population=population)
                    for _, name, index in places
                ]
                active.sources.append((figure, read_files(paths, entry.config.interval_s)))
                continue
            topics: dict[str, list[int]] = {}
            for place, name, index in places:
                topic = figure.topic.format(agent=name, index=index, population=population)
                topics.setdefault(topic, []).append(place)
            for topic, rows in topics.items():
                subscriptions.watch(topic, _Listener(figure, active.own[block.name], rows))

    def _look_up_all(self) -> None:
        for name, group in self._populations.groups.items():
            self._look_up(name, group)

    def _look_up(self, name: str, group: Group) -> None:
        """Look the names of a population's entries up in its present model."""
        noted: list[tuple[int, NDArray[np.float32]]] = []
        for active in self._entries:
            planned = active.planned
            if planned.config.population != name:
                continue
            active.entry = None
            port = group.model_port
            model = port.model if isinstance(port, Population) else None
            try:
                found = sample_plan.resolve(planned.config, planned.key, group.names, group.binding, model)
            except ConfigError as error:
                log.warning("%s; its series pause", error)
                continue
            if len(group.names) != len(planned.names) or not np.array_equal(found.agents, planned.agents):
                log.warning("%s: other agents since the start; its series pause", planned.key)
                continue
            blocks = zip(found.blocks, planned.blocks, strict=True)
            firsts = tuple(new._replace(first=old.first, figure=old.figure) for new, old in blocks)
            active.entry = replace(planned, blocks=firsts)
            readings = [block.column for block in found.blocks if block.kind == "reading"]
            active.numbers[:] = math.nan
            noted += [(column, active.numbers[row]) for row, column in enumerate(readings)]
        group.inputs.numbers = ReadingNumbers(noted) if noted else None


class _Listener:
    """Takes numbers from messages for an own figure of some agents."""

    def __init__(self, figure: FigureConfig, values: NDArray[np.float32], rows: Sequence[int]) -> None:
        self._figure = figure
        self._pointer = parse_pointer(figure.pointer)
        self._values = values
        self._rows = list(rows)

    def __call__(self, payload: bytes) -> None:
        """Take in a message; what is no number is ignored."""
        value = resolve(parse(payload), self._pointer)
        try:
            number = float(value) * self._figure.scale + self._figure.offset
        except (TypeError, ValueError, OverflowError):
            return
        if abs(number) <= FLOAT32_MAX:
            self._values[self._rows] = number


def _readings(
    group: Group, column: int, agents: NDArray[np.intp], numbers: NDArray[np.float32], now: float
) -> NDArray[np.float32]:
    """Return the newest readings, NaN where there is none or it is stale."""
    codes = group.observations.standing(column, agents, now)
    if not group.binding.modalities[column].edges:
        return codes
    noted = numbers[agents]
    return np.where(np.isnan(noted) | np.isnan(codes), codes, noted)


def _inferred(group: Group, block: Block, agents: NDArray[np.intp]) -> NDArray[np.float32]:
    port = group.model_port
    if block.kind == "figure" or not isinstance(port, Population):
        return np.asarray(port.free_energy[agents])
    return np.asarray(port.beliefs(block.column, agents)[:, block.state])


def _actions(group: Group, control: str, agents: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the actions that stand as numbers, NaN for none and for the safe value."""
    actuator = next((a for a in group.actuators if a.control.name == control), None)
    if actuator is None:
        return np.full(len(agents), math.nan, np.float32)
    actions, values = actuator.stands(agents), actuator.control.values
    numbers = all(isinstance(value, int | float) for value in values)  # a boolean is 0 or 1
    known = np.array(values if numbers else range(len(values)), np.float32)
    return np.where(actions >= 0, known[np.maximum(actions, 0)], np.float32(math.nan))
