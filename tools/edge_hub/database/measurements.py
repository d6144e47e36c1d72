"""The series in a stored message, and summaries of series as the database keeps them.

Theory of operation. A series is ``rss`` or ``POPULATION/COUNTER``. A message holds the counters that changed
since the one before, so what it does not hold says nothing about the moment. The names of a period are kept
with their summaries in one msgpack value: one row per device and period, however many series there are.
"""

from __future__ import annotations

import math

import msgspec

from edge_hub.domain.summaries import Summary

MAX_NAME = 128
"""Characters of a population's or a counter's name."""


class _Body(msgspec.Struct):
    populations: dict[str, dict[str, int | float]] = {}
    rss: int = 0


class _Message(msgspec.Struct):
    body: _Body


_message = msgspec.msgpack.Decoder(_Message)
_summaries = msgspec.msgpack.Decoder(dict[str, tuple[int, int | float, int | float, float, int | float]])


def values(payload: bytes) -> dict[str, float]:
    """Return what a stored message says of each series; names and numbers that can't be kept are left out.

    A message of an archive that was taken over may have another form; it says nothing.
    """
    try:
        body = _message.decode(payload).body
    except msgspec.DecodeError:
        return {}
    found: dict[str, float] = {
        f"{population}/{counter}": value
        for population, counters in body.populations.items()
        for counter, value in counters.items()
        if math.isfinite(value) and is_name(population) and is_name(counter)
    }
    if body.rss:
        found["rss"] = body.rss
    return found


def is_name(text: str) -> bool:
    """Whether both databases can hold a name."""
    return len(text) <= MAX_NAME and text.isprintable()


def packed(summaries: dict[str, Summary]) -> bytes:
    """Return summaries as they are stored."""
    return msgspec.msgpack.encode(summaries)


def unpacked(data: bytes) -> dict[str, Summary]:
    """Return stored summaries."""
    return _summaries.decode(data)
