"""Home Assistant's device discovery: one retained JSON message that describes a device and its sensors.

Theory of operation. Home Assistant listens on ``PREFIX/device/NODE/OBJECT/config`` (NODE is the fleet, OBJECT
the device) for ``{device, origin, components, state_topic, ...}``; every component is a sensor whose template
takes one value out of the JSON state that the device publishes on ``up/state``. The device is available while
the last state says ``online``, which is false in the state of an orderly stop.

Values expire: a device that fell silent is shown as unavailable, whatever became of it. A component that is
gone is announced once more with its platform alone, which removes it; an empty message removes the device.
Nothing here can be commanded: commands to a device must be signed.

Sources: home-assistant.io, "MQTT", "Device discovery payload", "Discovery topic" and "Birth and last will
messages"; "MQTT Sensor".

An identifier joins fleet, device, population and key by ``:``, which no name contains: different names make
different identifiers. A template yields None, which Home Assistant shows as unknown, where the state lacks a
key.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from edge_agent.wire.topics import DeviceTopics

EXPIRES_AFTER = 3.0
"""A value is believed for so many intervals between states."""
MAX_BYTES = 200_000
"""Of an announcement, without what it removes; a broker may refuse messages of more than 256 KB."""

_DEVICE: Mapping[str, tuple[str, dict[str, str]]] = {
    "rss": (
        "Memory",
        {"device_class": "data_size", "unit_of_measurement": "B", "state_class": "measurement"},
    ),
    "rung": ("Governor", {}),
    "backlog": (
        "Outbox",
        {"device_class": "data_size", "unit_of_measurement": "B", "state_class": "measurement"},
    ),
}
_POPULATION: Mapping[str, tuple[str, dict[str, str]]] = {
    "agents": ("agents", {"state_class": "measurement"}),
    "silent": ("silent agents", {"state_class": "measurement"}),
    "decisions": ("decisions", {"state_class": "total_increasing"}),
    "contradictions": ("contradictions", {"state_class": "total_increasing"}),
    "faults": ("bad readings", {"state_class": "total_increasing"}),
    "latency_p99_ms": (
        "latency",
        {"device_class": "duration", "unit_of_measurement": "ms", "state_class": "measurement"},
    ),
}


def topic(prefix: str, topics: DeviceTopics) -> str:
    """Return where the announcement of a device is retained."""
    return f"{prefix}/device/{topics.fleet}/{topics.device}/config"


def status_topic(prefix: str) -> str:
    """Return where Home Assistant says ``online`` when it starts."""
    return f"{prefix}/status"


def components(topics: DeviceTopics, population: str = "") -> tuple[str, ...]:
    """Return the ids of a population's components; without one, those of the device itself."""
    base = (topics.fleet, topics.device, *([population] if population else []))
    return tuple(":".join((*base, key)) for key in (_POPULATION if population else _DEVICE))


def announcement(
    topics: DeviceTopics, version: str, profile: str, populations: Collection[str], seconds: float
) -> dict[str, Any]:
    """Return the message of a device whose state comes every ``seconds``."""
    found: dict[str, Any] = {}
    for population in ("", *populations):
        found |= _sensors(topics, population, seconds)
    return {
        "device": {
            "identifiers": [f"edge-agent:{topics.fleet}:{topics.device}"],
            "name": topics.device,
            "manufacturer": "edge-agent",
            "model": profile,
            "sw_version": version,
        },
        "origin": {"name": "edge-agent", "sw_version": version},
        "components": found,
        "state_topic": topics.state,
        "availability_topic": topics.state,
        "availability_template": "{{ 'online' if value_json.get('online', true) else 'offline' }}",
        "qos": 0,
    }


def _sensors(topics: DeviceTopics, population: str, seconds: float) -> dict[str, Any]:
    """Return the components of a population; with an empty name, those of the device itself."""
    kinds = _POPULATION if population else _DEVICE
    place = f".get('populations', {{}}).get('{population}', {{}})" if population else ""
    return {
        id_: {
            "platform": "sensor",
            "unique_id": id_,
            "name": f"{population} {name}".strip(),
            "value_template": f"{{{{ value_json{place}.get('{key}') }}}}",
            "expire_after": round(EXPIRES_AFTER * seconds) + 1,
            "entity_category": "diagnostic",
            **fields,
        }
        for id_, (key, (name, fields)) in zip(components(topics, population), kinds.items(), strict=True)
    }


def fitting(topics: DeviceTopics, populations: Iterable[str], seconds: float) -> tuple[str, ...]:
    """Return as many of the first populations as an announcement of `MAX_BYTES` has room for."""
    found, room = [], MAX_BYTES - len(encode(announcement(topics, "", "", (), seconds)))
    for population in populations:
        room -= len(encode(_sensors(topics, population, seconds)))
        if room < 0:
            break
        found.append(population)
    return tuple(found)


def without(message: Mapping[str, Any], gone: Iterable[str]) -> dict[str, Any]:
    """Return ``message`` so that it also removes the components ``gone``."""
    removed = {id_: {"platform": "sensor"} for id_ in gone}
    return {**message, "components": {**removed, **message["components"]}}


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message as JSON."""
    return json.dumps(message, separators=(",", ":")).encode("utf-8")
