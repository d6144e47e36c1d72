"""What a device that can't be trusted publishes under its own name, beside what it should."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from edge_agent.protocol.ports import Publication
from edge_agent.wire import bodies, messages
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics

Lie = Callable[[DeviceTopics], Publication]

_DEPTH = 2000


def _telemetry(topics: DeviceTopics, body: Mapping[str, Any], t: float | None = None) -> Publication:
    message = Message(dict(body), seq=1, t=time.time() if t is None else t)
    return Publication(topics.telemetry, messages.encode(message))


def _garbage(topics: DeviceTopics) -> Publication:
    return Publication(topics.telemetry, b"\xc1 this is no message")


def _types(topics: DeviceTopics) -> Publication:
    return _telemetry(topics, {"populations": "many", "outbox": "types"})


def _negative(topics: DeviceTopics) -> Publication:
    return _telemetry(topics, {"rss": -1, "outbox": "negative"})


def _nested(topics: DeviceTopics) -> Publication:
    return Publication(topics.telemetry, b"\x91" * _DEPTH + b"\xc0")


def _controls(topics: DeviceTopics) -> Publication:
    return _telemetry(topics, {"outbox": "zero \0 byte"})


def _clock(topics: DeviceTopics) -> Publication:
    return _telemetry(topics, {"outbox": "clock"}, time.time() + 10 * 365 * 86_400.0)


def _stolen_name(topics: DeviceTopics) -> Publication:
    """Give telemetry in the name of another device's outbox."""
    return _telemetry(topics, {"outbox": "outbox-lab-d00000"})


def _unasked(topics: DeviceTopics) -> Publication:
    """Answer a command that nobody gave."""
    body = {"id": "nobody-asked", "ok": True, "result": {}}
    return Publication(topics.reply("nobody-asked"), messages.encode(Message(body, t=time.time())))


def _birth(topics: DeviceTopics) -> Publication:
    """Give a birth with another device's name in its body, not retained."""
    body = bodies.birth(True, "d00000", "lie", "", "lie", {})
    return Publication(topics.birth, messages.encode(Message(body, t=time.time())))


REFUSED: tuple[Lie, ...] = (_garbage, _types, _negative, _nested, _controls)
"""Telemetry that breaks the protocol: the hub keeps each aside with a reason."""

HARMLESS: tuple[Lie, ...] = (_clock, _stolen_name, _unasked, _birth)
"""Well-formed messages that must change nothing for another device."""
