"""What the ``telemetry`` sections ask for, resolved to numbers: series, their names, memory and traffic.

Theory of operation. An entry is a section; a block is one name in it (a modality, a state, a control or a
figure), with one series for each chosen agent. Series are numbered through all blocks. Names that the bundle
does not have are refused before anything starts. A series is called POPULATION/AGENT/KIND/NAME.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import Config
from edge_agent.config.telemetry_records import FigureConfig, TelemetryConfig
from edge_agent.engine.binding import Binding, find_name, text_of
from edge_agent.engine.stored_model import StoredModel
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Column
from edge_agent.memory.budget import Line
from edge_agent.protocol.sample_buffer import SampleBuffer
from edge_agent.runtime.assembly import Prepared

log = logging.getLogger("edge_agent")

MAX_SERIES = 1000
"""Series of a device."""
MAX_SAMPLES = 10_000
"""Samples of a message, which has at most 256 KiB."""
ROUNDS = 2
"""The buffer holds what so many messages carry."""
BYTES_PER_SAMPLE = 10
BYTES_PER_MESSAGE = 96  # of the body: keys, t0 and lengths
BYTES_PER_BLOCK = 2048  # measured: objects of a block and of its entry
OWNER = "telemetry"

Kind = Literal["reading", "belief", "action", "figure"]


class Block(NamedTuple):
    """One name of an entry; ``first`` is the number of its first agent's series."""

    kind: Kind
    name: str
    column: int
    """Modality, factor, or place in ``figure``."""
    state: int
    first: int
    figure: FigureConfig | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A section: which ``agents`` (n,), and its blocks."""

    config: TelemetryConfig
    key: str
    agents: NDArray[np.int32]
    names: AgentNames
    blocks: tuple[Block, ...]

    @property
    def series(self) -> int:
        """Number of its series."""
        return len(self.blocks) * len(self.agents)


class SeriesNames(Sequence[str]):
    """The names of all series by number, spelt when they are asked for."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._count = sum(entry.series for entry in entries)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._count))]
        for entry in self._entries:
            for block in entry.blocks:
                if block.first <= index < block.first + len(entry.agents):
                    agent = entry.names[int(entry.agents[index - block.first])]
                    return f"{entry.config.population}/{agent}/{block.kind}/{block.name}"
        raise IndexError(index)


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """All sections of a device."""

    entries: tuple[Entry, ...]
    telemetry_s: float

    @property
    def names(self) -> SeriesNames:
        """The names of all series."""
        return SeriesNames(self.entries)

    @property
    def samples_per_message(self) -> int:
        """Samples that a message carries while nothing is thinned, the most."""
        return sum(
            entry.series * math.ceil(self.telemetry_s / entry.config.interval_s) for entry in self.entries
        )

    @property
    def bytes_per_hour(self) -> float:
        """Bytes that the samples add to telemetry in an hour, before compression; at most so many."""
        names, place, total, shortest = self.names, 0, 0.0, math.inf
        for entry in self.entries:
            pause = max(entry.config.interval_s, self.telemetry_s)
            shortest = min(shortest, pause)
            text = sum(len(names[place + n].encode()) + 2 for n in range(entry.series))
            place += entry.series
            values = BYTES_PER_SAMPLE * entry.series * 3600.0 / entry.config.interval_s
            total += text * 3600.0 / pause + values
        return total + BYTES_PER_MESSAGE * 3600.0 / shortest

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it needs of the arena."""
        return (
            *SampleBuffer.columns(min(ROUNDS * self.samples_per_message, MAX_SAMPLES)),
            *(Column(f"numbers_{n}", shape, np.float32) for n, shape in enumerate(self._numbers())),
        )

    @property
    def lines(self) -> Iterator[Line]:
        """What it needs beside the arena."""
        blocks = sum(len(entry.blocks) for entry in self.entries)
        yield Line(OWNER, "objects", blocks * BYTES_PER_BLOCK)

    def _numbers(self) -> Iterator[tuple[int, int]]:
        """Yield the shape of the newest readings of each entry: blocks, agents of the population."""
        for entry in self.entries:
            readings = sum(block.kind == "reading" for block in entry.blocks)
            yield readings, len(entry.names)


def plan_samples(
    config: Config, prepared: Iterable[Prepared], where: str, configured: bool = True
) -> SamplePlan:
    """Resolve the sections of ``config``; ``where`` is the file.

    Sections whose names the bundles do not have are left out, and the log says so, if the bundles are not
    those that are ``configured``: what a hub rolled out runs, whatever its states are called.

    Raises
    ------
    ConfigError
        A name is not there, or there are too many series.
    """
    found = {item.config.name: item for item in prepared}
    entries: list[Entry] = []
    first = 0
    for number, section in enumerate(config.telemetry):
        key, item = f"{where}: telemetry[{number}]", found[section.population]
        try:
            entry = resolve(section, key, item.names, item.binding, item.model, first)
            _check_acting(entry, item)
        except ConfigError as error:
            if configured:
                raise
            log.warning("%s; its series are not sent", error)
            continue
        first += entry.series
        entries.append(entry)
    if first > MAX_SERIES:
        raise ConfigError(f"{where}: telemetry: found {first} series, expected at most {MAX_SERIES}")
    plan = SamplePlan(tuple(entries), config.device.telemetry_s)
    if plan.samples_per_message > MAX_SAMPLES:
        raise ConfigError(
            f"{where}: telemetry: found {plan.samples_per_message} samples per message, expected at most "
            f"{MAX_SAMPLES}: longer interval_s, fewer series, or a shorter device.telemetry_s"
        )
    names = list(plan.names)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{where}: telemetry: found series {twice!r} twice, expected it once")
    return plan


def _check_acting(entry: Entry, item: Prepared) -> None:
    """Check that actions of an entry go somewhere: what is sent is the action that was sent last."""
    acting = {item.binding.output(act.control, entry.key).control.name for act in item.config.act}
    for place, block in enumerate(block for block in entry.blocks if block.kind == "action"):
        if block.name not in acting:
            raise ConfigError(
                f"{entry.key}.actions[{place}]: found {block.name!r}, expected a control with an act entry"
            )


def resolve(
    section: TelemetryConfig, key: str, names: AgentNames, binding: Binding, model: Any, first: int = 0
) -> Entry:
    """Look the names of a section up; ``first`` is the number of its first series.

    Raises
    ------
    ConfigError
        A name is not there.
    """
    agents = [_agent(name, names, f"{key}.agents[{n}]") for n, name in enumerate(section.agents)]
    chosen = np.array(agents if section.agents else range(len(names)), np.int32)
    blocks = [
        block._replace(first=first + place * len(chosen))
        for place, block in enumerate(_blocks(section, key, binding, model))
    ]
    return Entry(section, key, chosen, names, tuple(blocks))


def _agent(name: str, names: AgentNames, key: str) -> int:
    number = names.find(name)
    if number is None:
        raise ConfigError(f"{key}: found {name!r}, expected an agent like {names[0]!r}")
    return number


def _blocks(section: TelemetryConfig, key: str, binding: Binding, model: Any) -> Iterator[Block]:
    for n, name in enumerate(section.readings):
        column = binding.modality(name, f"{key}.readings[{n}]")
        yield Block("reading", binding.modalities[column].name, column, 0, 0)
    for n, belief in enumerate(section.beliefs):
        factor, state, label = _state(belief, f"{key}.beliefs[{n}]", binding, model)
        yield Block("belief", label, factor, state, 0)
    for n, name in enumerate(section.actions):
        output = binding.output(name, f"{key}.actions[{n}]")
        yield Block("action", output.control.name, output.column, 0, 0)
    for name in section.figures:
        if not isinstance(model, StoredModel):
            raise ConfigError(f"{key}.figures: found {name!r}, expected none of a network: {binding.where}")
        yield Block("figure", name, 0, 0, 0)
    for n, figure in enumerate(section.figure):
        yield Block("figure", figure.name, n, 0, 0, figure)


def _state(text: str, key: str, binding: Binding, model: Any) -> tuple[int, int, str]:
    """Return factor and state that FACTOR=STATE names, and their names."""
    if not isinstance(model, StoredModel):
        raise ConfigError(f"{key}: found {text!r}, expected none of a network: {binding.where}")
    named = model.meta.get("factors") or [{}] * len(model.num_states)
    factors = [str(entry.get("name", number)) for number, entry in enumerate(named)]
    wanted, _, state = text.partition("=")
    factor = find_name(factors, wanted, f"{key}: {binding.where} has no factor")
    labels = named[factor].get("states") or range(model.num_states[factor])
    states = [text_of(label) for label in labels]
    number = find_name(states, state, f"{key}: factor {factors[factor]} of {binding.where} has no state")
    return factor, number, f"{factors[factor]}={states[number]}"
