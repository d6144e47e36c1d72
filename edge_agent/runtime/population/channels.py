"""Maps topics to agents, and payloads to the bins of their modalities.

Theory of operation. A `Channel` is one topic pattern of one population with the fields that are read from its
payloads. The pattern is formatted once for every agent into a dictionary, so that a message needs one lookup
and one JSON parse for any number of modalities. An invalid value is a `Fault`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import ObserveConfig
from edge_agent.runtime.population.binding import Binding, Fault, Modality

MAX_PAYLOAD = 64 * 1024
MAX_FILTERS = 64
BYTES_PER_TOPIC = 256  # measured: text, dictionary slot and number of one spelled-out topic
_MISSING = object()


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

    def read(self, document: Any) -> float | Fault | None:
        """Return the bin of this field in a parsed payload; None for JSON's null, which is not observed."""
        value = resolve(document, self.pointer)
        if value is _MISSING:
            return Fault.NO_SUCH_KEY
        if value is None:
            return None
        if (self.scale != 1.0 or self.offset != 0.0) and isinstance(value, int | float):
            try:
                value = value * self.scale + self.offset
            except OverflowError:
                return Fault.OUT_OF_RANGE
        return self.modality.encode(value)


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic pattern: ``agents`` maps topics to agents (-1: all of them)."""

    pattern: str
    agents: Mapping[str, int]
    fields: tuple[ValueField, ...]

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
    observe: Sequence[tuple[str, ObserveConfig]], binding: Binding, names: AgentNames, population: str
) -> list[Channel]:
    """Return the channels of a population; ``observe`` pairs each entry with its key in the configuration."""
    patterns: dict[str, list[ValueField]] = {}
    for key, entry in observe:
        if entry.source != "mqtt":
            continue
        column = binding.modality(entry.modality, key)
        field = ValueField(
            parse_pointer(entry.pointer), column, binding.modalities[column], entry.scale, entry.offset
        )
        patterns.setdefault(entry.topic.replace("{population}", population), []).append(field)
    return [Channel(p, _topics(p, names), tuple(fields)) for p, fields in patterns.items()]


def _topics(pattern: str, names: AgentNames) -> dict[str, int]:
    if "{agent}" not in pattern and "{index" not in pattern:
        return {pattern.format(): -1}
    return {pattern.format(agent=name, index=index): index for index, name in enumerate(names)}


def parse(payload: bytes) -> Any | Fault:
    """Return the JSON document in ``payload`` (a plain number is one)."""
    if len(payload) > MAX_PAYLOAD:
        return Fault.TOO_LONG
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
