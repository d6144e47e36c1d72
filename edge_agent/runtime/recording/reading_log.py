"""Collects readings and actions from messages, as the daemon would take them.

Theory of operation. The channels of a population find agent and modality of a message. Each field is read
twice by the device's own code: as a number in the modality's unit, and as a bin of its model. Without a model
there are no bins, and texts are numbered in the order in which they come. Commands on the topics of ``act``
are actions, whoever sent them. Memory grows by ``EVENT_BYTES`` per entry, up to a limit.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import ActConfig, PopulationConfig
from edge_agent.engine.binding import Binding, Fault, Modality, text_of
from edge_agent.errors import PeerError
from edge_agent.runtime.population.channels import (
    Channel,
    ValueField,
    channels,
    offline,
    parse,
    parse_array,
    parse_pointer,
    resolve,
)
from edge_agent.runtime.recording.command_values import command_value
from edge_agent.wire.messages import decode
from edge_agent.wire.readings import (
    MAX_EVENTS,
    MAX_TIME,
    NOT_OBSERVED,
    ControlNames,
    ModalityNames,
    Readings,
)

EVENT_BYTES = 28
ALL = -1
MILLISECONDS = 1e11
"""A larger number is a time in milliseconds, as Zigbee2MQTT's last_seen may be."""
MAX_LABELS = 256
MAX_LABEL = 64


@dataclass(slots=True)
class LogCounters:
    """What was taken, and what was not."""

    readings: int = 0
    actions: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    def fault(self, reason: str) -> None:
        """Count a message or a field that could not be taken."""
        self.faults[reason] = self.faults.get(reason, 0) + 1


class _Columns:
    """Entries (time, agent, number, value, code) in arrays that grow."""

    def __init__(self) -> None:
        self.time, self.value = array("d"), array("d")
        self.agent, self.number, self.code = array("i"), array("h"), array("h")

    def add(self, time: float, agent: int, number: int, value: float, code: int) -> None:
        self.time.append(time)
        self.agent.append(agent)
        self.number.append(number)
        self.value.append(value)
        self.code.append(code)

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True)
class _Command:
    """A control's topics: topic to agent."""

    act: ActConfig
    control: int
    agents: Mapping[str, int]


class ReadingLog:
    """What a population observed and did.

    Parameters
    ----------
    config : PopulationConfig
    binding : Binding
        Its modalities and controls.
    names : AgentNames
    binned : bool
        Whether ``binding`` is a model's. If not, it only names modalities and controls.
    tick_seconds : float, optional
        Of the model.
    bulk_in : str
        Topic of arrays; empty: none.
    time_pointer : str, optional
        JSON pointer to the time in a payload: ISO 8601, or seconds or milliseconds since 1970. Without it,
        and where a payload has none, the time of arrival counts.
    limit : int
        Entries that are taken at most.
    """

    def __init__(
        self,
        config: PopulationConfig,
        binding: Binding,
        names: AgentNames,
        *,
        binned: bool,
        tick_seconds: float | None = None,
        bulk_in: str = "",
        time_pointer: str | None = None,
        limit: int = MAX_EVENTS,
    ) -> None:
        self.counters = LogCounters()
        self._names = names
        self._binding = binding
        self._binned = binned and all(modality.size for modality in binding.modalities)
        self._tick_seconds = tick_seconds
        self._bulk_in = bulk_in
        self._time = None if time_pointer is None else parse_pointer(time_pointer)
        self._limit = limit
        keyed = [
            (f"population {config.name}: observe[{n}].modality", entry)
            for n, entry in enumerate(config.observe)
        ]
        self._channels = channels(keyed, binding, names, config.name)
        self._labels = [list(modality.labels) for modality in binding.modalities]
        self._raw = [_numbers(m, labels) for m, labels in zip(binding.modalities, self._labels, strict=True)]
        # Factors that one control moves have an output each, of the same name.
        self._controls = list({output.control.name: output.control for output in binding.outputs}.values())
        self._values = [c.texts() if binned else [] for c in self._controls]
        self._commands = list(self._command_topics(config))
        self._readings, self._actions = _Columns(), _Columns()

    @property
    def full(self) -> bool:
        """Whether no more is taken."""
        return len(self._readings) >= self._limit or len(self._actions) >= self._limit

    def filters(self) -> list[str]:
        """Return the topic filters to subscribe to."""
        found = [topic for channel in self._channels for topic in channel.filters()]
        for command in self._commands:
            found += Channel(command.act.topic, command.agents, ()).filters()
        if self._bulk_in:
            found.append(self._bulk_in)
        return list(dict.fromkeys(found))

    def message(self, topic: str, payload: bytes, time: float) -> None:
        """Take a message in, if its topic is one of the population's."""
        if topic == self._bulk_in:
            self._bulk(payload, time)
        for channel in self._channels:
            agent = channel.agents.get(topic)
            if agent is not None:
                self._observe(channel, agent, payload, time)
        for command in self._commands:
            agent = command.agents.get(topic)
            if agent is not None:
                self._act(command, agent, payload, time)

    def readings(self) -> Readings:
        """Return everything that was taken so far."""
        binding = self._binding
        modalities = tuple(
            ModalityNames(m.name, m.unit, m.edges, tuple(labels))
            for m, labels in zip(binding.modalities, self._labels, strict=True)
        )
        controls = tuple(
            ControlNames(control.name, tuple(values))
            for control, values in zip(self._controls, self._values, strict=True)
        )
        entries, acts = self._readings, self._actions
        return Readings(
            tuple(self._names),
            modalities,
            controls,
            np.array(entries.time),
            np.array(entries.agent, np.int64),
            np.array(entries.number, np.int64),
            np.array(entries.value),
            np.array(entries.code, np.int64),
            np.array(acts.time),
            np.array(acts.agent, np.int64),
            np.array(acts.number, np.int64),
            np.array(acts.code, np.int64),
            self._tick_seconds,
        )

    def _command_topics(self, config: PopulationConfig) -> Sequence[_Command]:
        found = []
        controls = [control.name for control in self._controls]
        for number, act in enumerate(config.act):
            if act.sink != "mqtt":
                continue
            key = f"population {config.name}: act[{number}].control"
            control = controls.index(self._binding.output(act.control, key).control.name)
            pattern = act.topic.replace("{population}", config.name)
            own = "{agent}" in pattern or "{index" in pattern
            topics = {pattern.format(agent=a, index=i): i if own else ALL for i, a in enumerate(self._names)}
            found.append(_Command(act, control, topics))
        return found

    def _observe(self, channel: Channel, agent: int, payload: bytes, time: float) -> None:
        document = parse(payload)
        if isinstance(document, Fault):
            self.counters.fault(document.value)
            return
        if channel.reachable is not None:
            self._reach(channel, offline(channel.reachable, document), agent, time)
            return
        time = self._stamp(document, time)
        for entry in channel.fields:
            value = self._number(entry, document)
            code = entry.read(document) if self._binned else NOT_OBSERVED
            if value is None:  # JSON's null: nothing was observed
                continue
            wrong = next((v for v in (value, code) if isinstance(v, Fault)), None)
            if wrong is not None:
                self.counters.fault(wrong.value)
                continue
            bin_ = NOT_OBSERVED if code is None or isinstance(code, Fault) else int(code)
            number = math.nan if isinstance(value, Fault) else value
            self._store(agent, entry.column, number, bin_, time)

    def _reach(self, channel: Channel, gone: bool | Fault, agent: int, time: float) -> None:
        """Note that the device of the channel's fields is offline: what it reported no longer stands."""
        if isinstance(gone, Fault):
            self.counters.fault(gone.value)
        elif gone:
            for entry in channel.fields:
                self._store(agent, entry.column, math.nan, NOT_OBSERVED, time)

    def _number(self, entry: ValueField, document: object) -> float | Fault | None:
        """Return a field's number in the modality's unit; a text without a label becomes one."""
        value = entry._replace(modality=self._raw[entry.column]).read(document)
        if value is not Fault.NOT_A_NUMBER or self._binned:
            return value
        text, labels = resolve(document, entry.pointer), self._labels[entry.column]
        if not isinstance(text, str) or len(text) > MAX_LABEL or len(labels) >= MAX_LABELS:
            return value
        labels.append(text)
        self._raw[entry.column] = _numbers(self._binding.modalities[entry.column], labels)
        return float(len(labels) - 1)

    def _stamp(self, document: object, arrived: float) -> float:
        """Return the time that a payload states, or that of its arrival."""
        if self._time is None:
            return arrived
        stated = resolve(document, self._time)
        try:
            if isinstance(stated, str):
                stamp = datetime.fromisoformat(stated)
                return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
            if isinstance(stated, int | float) and 0 < stated < MAX_TIME * 1000.0:
                return stated / 1000.0 if stated > MILLISECONDS else float(stated)
        except (ValueError, OverflowError):
            pass
        self.counters.fault("no_time")
        return arrived

    def _store(self, agent: int, column: int, value: float, code: int, time: float) -> None:
        for index in range(len(self._names)) if agent < 0 else (agent,):
            if self.full:
                return
            self._readings.add(time, index, column, value, code)
            self.counters.readings += 1

    def _act(self, command: _Command, agent: int, payload: bytes, time: float) -> None:
        example = max(agent, 0)
        value = command_value(command.act.template, payload, self._names[example], example)
        values = self._values[command.control]
        words = {text_of(word): name for name, word in command.act.values.items()}
        value = words.get(value, value) if value is not None else None
        if value is not None and value not in values and not self._binned and len(values) < MAX_LABELS:
            values.append(value)
        if value not in values:
            self.counters.fault("no_such_action")
            return
        for index in range(len(self._names)) if agent == ALL else (agent,):
            if not self.full:
                self._actions.add(time, index, command.control, math.nan, values.index(value))
                self.counters.actions += 1

    def _bulk(self, payload: bytes, time: float) -> None:
        try:
            body = decode(payload).body
        except PeerError:
            self.counters.fault(Fault.BAD_ARRAY.value)
            return
        size = len(self._names)
        numbers = parse_array(body, self._raw, size) if body.get("dtype") == "float32" else None
        codes = parse_array(body, self._binding.modalities, size) if self._binned else None
        wrong = next((found for found in (numbers, codes) if isinstance(found, Fault)), None)
        if wrong is not None or (numbers is None and codes is None):
            self.counters.fault((wrong or Fault.BAD_ARRAY).value)
            return
        self._store_arrays(numbers, codes, time)

    def _store_arrays(
        self,
        numbers: NDArray[np.float64] | Fault | None,
        codes: NDArray[np.int64] | Fault | None,
        time: float,
    ) -> None:
        for agent in range(len(self._names)):
            for column in range(len(self._binding.modalities)):
                value = math.nan if numbers is None or isinstance(numbers, Fault) else numbers[agent, column]
                code = NOT_OBSERVED if codes is None or isinstance(codes, Fault) else codes[agent, column]
                if not math.isnan(value) or code != NOT_OBSERVED:
                    self._store(agent, column, float(value), int(code), time)


def names_only(config: PopulationConfig, where: str) -> Binding:
    """Return a binding that has the names in the configuration and no bins, for a model that is not there."""
    modalities: dict[str, dict[str, None]] = {entry.modality: {} for entry in config.observe}
    for entry in config.observe:
        modalities[entry.modality] |= dict.fromkeys(v for v in entry.values.values() if isinstance(v, str))
    controls = dict.fromkeys(entry.control for entry in config.act)
    meta = {
        "modalities": [{"name": name, "labels": list(labels)} for name, labels in modalities.items()],
        "controls": [{"name": name} for name in controls],
    }
    return Binding(meta, [len(labels) for labels in modalities.values()], [1] * len(controls), where)


def _numbers(modality: Modality, labels: Sequence[str]) -> Modality:
    """Return the modality without bins: its readings stay numbers, and those of labels their numbers."""
    return Modality(modality.name, 0, modality.unit, (), labels)
