"""Maps topics to agents, and payloads to the bins of their modalities.

Theory of operation. A `Channel` is one topic pattern of one population with the fields that are read from its
payloads. The pattern is formatted once for every agent into a dictionary, so that a message needs one lookup
and one JSON parse for any number of modalities. An invalid value is a `Fault`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from json.scanner import make_scanner
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import ActConfig, AvailabilityConfig, ObserveConfig
from edge_agent.engine.binding import Binding, Fault, Modality, text_of
from edge_agent.errors import ConfigError
from edge_agent.runtime.population.observations import Wake
from edge_agent.runtime.population.spread import (
    Spread,
    Uncertainty,
    of_probabilities,
    of_reading,
    uncertainty,
)

MAX_PAYLOAD = 64 * 1024
MAX_FILTERS = 64
BYTES_PER_TOPIC = 256  # measured: text, dictionary slot and number of one spelled-out topic
_MISSING = object()
_ZERO, _MOST_DIGITS = ord("0"), 18
_JSON_STARTS, _JSON_SPACE = frozenset('{["-0123456789tfnNI'), " \t\n\r"
# Of a word that is no JSON `json.loads` writes an error with its place, which takes ten times as long.
_scan = make_scanner(json.JSONDecoder())  # type: ignore[arg-type]


def parse_pointer(pointer: str) -> tuple[str, ...]:
    """Return the tokens of a JSON pointer (RFC 6901 section 3); empty for the whole document."""
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def resolve(document: Any, tokens: Iterable[str]) -> Any:
    """Return what the pointer points at, or ``_MISSING``; null where something on the way is null."""
    for token in tokens:
        if document is None:
            return None
        if isinstance(document, dict):
            document = document.get(token, _MISSING)
        elif isinstance(document, list) and token.isdecimal() and int(token) < len(document):
            document = document[int(token)]
        else:
            return _MISSING
    return document


class ValueField(NamedTuple):
    """One number in a payload."""

    pointer: tuple[str, ...]
    column: int
    modality: Modality
    scale: float
    offset: float
    values: Mapping[str, str | bool | int | float] = {}
    wake: Wake = Wake.ARRIVAL
    uncertainty: Uncertainty | None = None
    stamp: tuple[str, ...] = ()
    """Where the time is at which the reading was made; empty: it is the time of arrival."""
    reduced: bool = False
    """Whether the mean or the largest of a tick's readings stands for it."""

    @property
    def needs_each(self) -> bool:
        """Whether a reading counts although a newer one has arrived."""
        return self.reduced or bool(self.stamp)

    def read(self, document: Any) -> float | Fault | None:
        """Return the bin of this field in a parsed payload; None for JSON's null, which is not observed."""
        value = self.value(document)
        return value if value is None or isinstance(value, Fault) else self.modality.encode(value)

    @staticmethod
    def number(value: Any) -> float | Fault:
        """Return a value that has a bin by its edges as a number."""
        try:
            return float(value)
        except OverflowError:
            return Fault.OUT_OF_RANGE

    def encode(self, value: Any, document: Any) -> float | Spread | Fault:
        """Return the bin of a value of this field in ``document``, or a distribution over the bins."""
        if self.uncertainty is None:
            return self.modality.encode(value)
        if self.uncertainty.probabilities:
            return of_probabilities(value, self.modality)
        code, deviation = self.modality.encode(value), self._deviation(document, self.uncertainty)
        if isinstance(code, Fault) or isinstance(deviation, Fault):
            return code if isinstance(code, Fault) else deviation
        if deviation == 0.0 or value in self.modality.labels:
            return code
        try:
            return of_reading(int(code), float(value), deviation, self.modality.edges)
        except OverflowError:
            return Fault.OUT_OF_RANGE

    def value(self, document: Any) -> Any:
        """Return the reading in the modality's unit, as JSON gives it, or its label; a Fault or None."""
        value = resolve(document, self.pointer)
        if value is _MISSING:
            return Fault.NO_SUCH_KEY
        if value is None:
            return None
        if self.values and isinstance(value, str | int | float):
            name = text_of(value)
            if name in self.values:
                return self.values[name]
        if (self.scale != 1.0 or self.offset != 0.0) and isinstance(value, int | float):
            try:
                value = value * self.scale + self.offset
            except OverflowError:
                return Fault.OUT_OF_RANGE
        return value

    def _deviation(self, document: Any, stated: Uncertainty) -> float | Fault:
        """Return the standard deviation of the reading in the modality's unit."""
        found = None if stated.pointer is None else resolve(document, stated.pointer)
        if found is None or found is _MISSING:
            if not stated.deviation:
                return Fault.NO_SUCH_KEY
            found = stated.deviation
        if isinstance(found, bool) or not isinstance(found, int | float):
            return Fault.NOT_A_NUMBER
        try:
            deviation = float(found) * abs(self.scale)
        except OverflowError:
            return Fault.OUT_OF_RANGE
        return deviation if 0.0 <= deviation < math.inf else Fault.OUT_OF_RANGE


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic pattern: ``agents`` maps topics to agents (-1: all of them)."""

    pattern: str
    agents: Mapping[str, int]
    fields: tuple[ValueField, ...]
    reachable: AvailabilityConfig | None = None
    """If set, the topic reports whether the device of the fields is online."""

    def filters(self) -> list[str]:
        """Return the topic filters to subscribe to: the topics, or one wildcard where they are many."""
        levels = self.pattern.split("/")
        wild = [n for n, level in enumerate(levels) if level in ("{agent}", "{index}")]
        if (
            len(self.agents) <= MAX_FILTERS
            or len(wild) != 1
            or "{" in "".join(level for n, level in enumerate(levels) if n not in wild)
        ):
            return list(self.agents)
        levels[wild[0]] = "+"
        return ["/".join(levels)]


def channels(
    observe: Sequence[tuple[str, ObserveConfig]],
    binding: Binding,
    names: AgentNames,
    population: str,
    act: Sequence[ActConfig] = (),
) -> list[Channel]:
    """Return the channels of a population, those of availability last.

    ``observe`` pairs each entry with its key in the configuration; ``act`` tells which topics are written.

    Raises
    ------
    ConfigError
        An entry names a modality that the model does not have, or maps to a value that the modality does not
        have.
    """
    patterns: dict[str, list[ValueField]] = {}
    reachable: dict[AvailabilityConfig, list[ValueField]] = {}
    commands = [
        replace(entry, topic=entry.topic.replace("{population}", population))
        for entry in act
        if entry.sink == "mqtt"
    ]
    for key, entry in observe:
        if entry.source != "mqtt":
            continue
        column = binding.modality(entry.modality, key)
        pattern = entry.topic.replace("{population}", population)
        modality = binding.modalities[column]
        _check_values(entry, modality, key.removesuffix(".modality"), binding.where)
        field = ValueField(
            parse_pointer(entry.pointer),
            column,
            modality,
            entry.scale,
            entry.offset,
            entry.values,
            _wake(entry, pattern, commands, names),
            uncertainty(entry, modality, _pointer(entry), key.removesuffix(".modality"), binding.where),
            parse_pointer(entry.stamp),
            entry.reduce != "last",
        )
        patterns.setdefault(pattern, []).append(field)
        for source in entry.availability:
            placed = replace(source, topic=source.topic.replace("{population}", population))
            reachable.setdefault(placed, []).append(field)
    found = [Channel(p, _topics(p, names), tuple(fields)) for p, fields in patterns.items()]
    found += [Channel(s.topic, _topics(s.topic, names), tuple(f), s) for s, f in reachable.items()]
    return found


def _check_values(entry: ObserveConfig, modality: Modality, key: str, where: str) -> None:
    for name, value in entry.values.items():
        if isinstance(modality.encode(value), Fault):
            expected = ", ".join(modality.labels) or ("a number" if modality.edges else "a bin's number")
            raise ConfigError(
                f"{key}.values.{name}: found {value!r}, expected a value of modality "
                f"{modality.name} of {where}: {expected}"
            )


def _pointer(entry: ObserveConfig) -> tuple[str, ...] | None:
    return parse_pointer(entry.uncertainty_pointer) if entry.uncertainty_pointer else None


def _wake(entry: ObserveConfig, pattern: str, commands: Sequence[ActConfig], names: AgentNames) -> Wake:
    """Return when readings are arrivals. State that a device repeats after a command is none by default."""
    if entry.wakes is not None:
        return Wake.ARRIVAL if entry.wakes else Wake.NEVER
    echoing = [act for act in commands if _echoes(pattern, act.topic, names)]
    tokens = parse_pointer(entry.pointer)
    if any(tokens and tokens[0] in _properties(act.template) for act in echoing):
        return Wake.NEVER
    return Wake.CHANGE if echoing else Wake.ARRIVAL


def _properties(template: str) -> Collection[str]:
    """Return the keys that a command sets, where it is a JSON object."""
    try:
        document = json.loads(template.format(agent="a", index=0, value=0, action=0, population="p"))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return ()
    return document.keys() if isinstance(document, dict) else ()


def _echoes(pattern: str, command: str, names: AgentNames) -> bool:
    """Whether a device of one of the agents repeats a command on a topic of the pattern."""
    for index, name in enumerate(names):
        topic, sent = (text.format(agent=name, index=index) for text in (pattern, command))
        if sent == topic or sent.startswith(f"{topic}/set"):
            return True
    return False


def _topics(pattern: str, names: AgentNames) -> dict[str, int]:
    if "{agent}" not in pattern and "{index" not in pattern:
        return {pattern.format(): -1}
    return {pattern.format(agent=name, index=index): index for index, name in enumerate(names)}


def offline(reachable: AvailabilityConfig, document: Any) -> bool | Fault:
    """Return whether a parsed availability message says that the device is offline."""
    value = resolve(document, parse_pointer(reachable.pointer))
    if value is _MISSING or isinstance(value, dict | list):
        return Fault.NO_SUCH_KEY
    return value is None or text_of(value) != text_of(reachable.value)


def unix_time(value: Any) -> float | Fault:
    """Return Unix seconds of seconds, milliseconds (from 10^11 on) or text (a number or ISO 8601)."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            from datetime import datetime  # only for sensors that write so

            try:
                return datetime.fromisoformat(value).timestamp()
            except (ValueError, OverflowError, OSError):
                return Fault.BAD_STAMP
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < 1e15:
        return Fault.BAD_STAMP
    return value / 1000.0 if value >= 1e11 else float(value)


def parse(payload: bytes) -> Any | Fault:
    """Return the JSON document in ``payload`` (a plain number is one)."""
    if len(payload) > MAX_PAYLOAD:
        return Fault.TOO_LONG
    if payload.isdigit() and len(payload) < _MOST_DIGITS and payload[0] != _ZERO:
        return int(payload)
    if not payload.isascii() or b"\0" in payload[:4]:  # it may be UTF-16 or UTF-32
        return _parse_any(payload)
    text = payload.decode("ascii")
    if text[:1] in _JSON_STARTS:
        try:
            document, end = _scan(text, 0)
        except (StopIteration, ValueError, RecursionError):
            return text.strip()
        if end == len(text) or not text[end:].strip(_JSON_SPACE):
            return document
    elif text[:1] in _JSON_SPACE:
        return _parse_any(payload)
    return text.strip()


def _parse_any(payload: bytes) -> Any | Fault:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        pass
    try:
        return payload.decode("utf-8").strip()  # ON, 21.5 °C and the like: the modality's labels decide
    except UnicodeDecodeError:
        return Fault.NOT_JSON


def parse_array(body: Mapping[str, Any], modalities: Sequence[Modality], size: int) -> NDArray[Any] | Fault:
    """Return the (N, M) bins of a bulk message, or the numbers where the modalities have no bins.

    ``body`` has ``obs`` (little-endian bytes, row-major), ``shape`` [N, M] and ``dtype``: ``int16`` or
    ``uint8`` for bins (-1 or 255: not observed), ``float32`` for readings in the modalities' units (NaN: not
    observed).
    """
    raw, shape, dtype = body.get("obs"), body.get("shape"), body.get("dtype")
    width = {"int16": 2, "uint8": 1, "float32": 4}.get(str(dtype))
    if not isinstance(raw, bytes) or shape != [size, len(modalities)] or width is None:
        return Fault.BAD_ARRAY
    if len(raw) != size * len(modalities) * width:
        return Fault.BAD_ARRAY
    if width == 4:
        values = np.frombuffer(raw, "<f4").reshape(size, -1)
        codes = np.empty((size, len(modalities)), np.int16 if modalities[0].size else np.float32)
        for column, modality in enumerate(modalities):
            codes[:, column], _ = modality.encode_column(values[:, column])
        return codes
    if not modalities[0].size:
        return Fault.BAD_ARRAY
    codes = np.frombuffer(raw, "<i2" if width == 2 else "u1").reshape(size, -1).astype(np.int16)
    if width == 1:
        codes[codes == 255] = -1
    limits = np.array([modality.size for modality in modalities], np.int16)
    if (codes < -1).any() or (codes >= limits).any():
        return Fault.OUT_OF_RANGE
    return codes
