"""The series in a stored message, and summaries of series as the database keeps them.

Theory of operation. A device's own series are ``rss``, ``health/FIGURE`` and ``POPULATION/COUNTER``; a
message holds those that changed since the one before, so what it does not hold says nothing about the moment.
Series of agents come as samples, each with its time (`edge_hub.domain.series`). The names of a period are
kept with their summaries in one msgpack value: one row per device and period, however many series there are;
a reader decodes the summaries that it wants.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from edge_hub.domain.series import HEALTH
from edge_hub.domain.summaries import Summary

MAX_NAME = 128
"""Characters of a population's or a counter's name."""
MAX_SERIES_NAME = 4 * MAX_NAME


class Sample(NamedTuple):
    """A value of an agent's series, made at Unix time ``t``."""

    t: float
    name: str
    value: float


class _Body(msgspec.Struct):
    populations: dict[str, dict[str, int | float]] = {}
    rss: int = 0
    health: msgspec.Raw = msgspec.Raw()
    samples: msgspec.Raw = msgspec.Raw()


class SampleColumns(msgspec.Struct):
    """``samples`` of a message, as docs/protocol.md has them."""

    names: list[str] = []
    t0: float = 0.0
    series: bytes = b""
    dt: bytes = b""
    values: bytes = b""


class _Message(msgspec.Struct):
    body: _Body


_message = msgspec.msgpack.Decoder(_Message)
_samples = msgspec.msgpack.Decoder(SampleColumns)
_health = msgspec.msgpack.Decoder(dict[str, Any])
_raw_summaries = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_summary = msgspec.msgpack.Decoder(tuple[int, int | float, int | float, float, int | float])
_summaries = msgspec.msgpack.Decoder(dict[str, tuple[int, int | float, int | float, float, int | float]])


def values(payload: bytes) -> dict[str, float]:
    """Return what a stored message says of the device's own series; names and numbers that can't be kept are
    left out.

    A message of an archive that was taken over may have another form; it says nothing.
    """
    body = _body(payload)
    if body is None:
        return {}
    found: dict[str, float] = {
        f"{population}/{counter}": value
        for population, counters in body.populations.items()
        for counter, value in counters.items()
        if math.isfinite(value) and is_name(population) and is_name(counter)
    }
    if body.rss:
        found["rss"] = body.rss
    if body.health:
        found |= {f"{HEALTH}/{name}": value for name, value in _numbers(body.health).items()}
    return found


def samples(payload: bytes) -> list[Sample]:
    """Return the samples in a stored message, in the order of time."""
    body = _body(payload)
    if body is None or not body.samples:
        return []
    try:
        found = _samples.decode(body.samples)
    except msgspec.DecodeError:
        return []
    count = len(found.values) // 4
    if fault(found.names, found.series, found.dt, found.values) or not math.isfinite(found.t0):
        return []
    columns = zip(
        struct.unpack(f"<{count}I", found.dt),
        struct.unpack(f"<{count}H", found.series),
        struct.unpack(f"<{count}f", found.values),
        strict=True,
    )
    kept = [name if is_series_name(name) else "" for name in found.names]
    return sorted(
        Sample(found.t0 + dt / 1e3, kept[place], value)
        for dt, place, value in columns
        if kept[place] and math.isfinite(value)
    )


def fault(names: list[str], series: bytes, dt: bytes, values_: bytes) -> str:
    """Return what is wrong with columns of samples, "" if nothing is."""
    count = len(values_) // 4
    if (len(series), len(dt), len(values_)) != (2 * count, 4 * count, 4 * count):
        return f"samples: {len(series)}, {len(dt)} and {len(values_)} bytes, expected 2, 4 and 4 per sample"
    if count and max(struct.unpack(f"<{count}H", series)) >= len(names):
        return f"samples: a series is not one of {len(names)} names"
    return ""


def is_name(text: str) -> bool:
    """Whether both databases can hold a name."""
    return len(text) <= MAX_NAME and text.isprintable()


def is_series_name(text: str) -> bool:
    """Whether both databases can hold the name of an agent's series."""
    return len(text) <= MAX_SERIES_NAME and text.isprintable()


def packed(summaries: dict[str, Summary]) -> bytes:
    """Return summaries as they are stored."""
    return msgspec.msgpack.encode(summaries)


def unpacked(data: bytes, wanted: Callable[[str], bool] | None = None) -> dict[str, Summary]:
    """Return stored summaries, of the series that are ``wanted``; default all."""
    if wanted is None:
        return _summaries.decode(data)
    return {name: _summary.decode(raw) for name, raw in _raw_summaries.decode(data).items() if wanted(name)}


def _body(payload: bytes) -> _Body | None:
    try:
        return _message.decode(payload).body
    except msgspec.DecodeError:
        return None


def _numbers(health: msgspec.Raw) -> dict[str, float]:
    try:
        found = _health.decode(health)
    except msgspec.DecodeError:
        return {}
    return {
        name: value
        for name, value in found.items()
        if type(value) in (int, float) and math.isfinite(value) and is_name(name)
    }
