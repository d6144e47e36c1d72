"""Home Assistant's device discovery: one retained JSON message that describes a device and its entities.

Theory of operation. Home Assistant listens on ``PREFIX/device/NODE/OBJECT/config`` (NODE is the fleet, OBJECT
the device) for ``{device, origin, components, state_topic, ...}``. A component of the device or of a
population is a diagnostic sensor whose template takes one value out of the JSON state that the device
publishes on ``up/state``; components of agents are in `wire.agent_discovery`. The device is available
according to the newer message of two topics: the state, whose ``online`` is false in the state of an orderly
stop, and the birth message, which the broker publishes as the will when the daemon is killed. The birth
message is msgpack. Home Assistant is told to decode it as latin-1, which accepts any bytes, and the template
looks for the key ``online`` followed by msgpack's false, 0xc2; the JSON of states is ASCII, so it is the same
in latin-1. Values also expire: a board without power is shown as unavailable even if the broker publishes no
will. A component that is gone is announced once more with its platform alone, which removes it; an empty
message removes the device. Sources: home-assistant.io, "MQTT", "Device discovery payload", "Discovery topic",
"Using availability topics"; "MQTT Sensor"; msgpack's specification, "bool format family".

An identifier joins fleet, device, population and key by ``:``, which no name contains: different names make
different identifiers. A template yields None, which Home Assistant shows as unknown, where the state lacks a
key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from edge_agent.wire.topics import DeviceTopics

EXPIRES_AFTER = 3.0
"""A value is believed for so many intervals between states."""
MAX_BYTES = 200_000
"""Of an announcement, without what it removes; a broker may refuse messages of more than 256 KB."""
HEAD_BYTES = 2_000
"""Of these, for everything but components."""
ENCODING = "latin-1"
"""How Home Assistant decodes all messages of the device; see above."""
Components = dict[str, dict[str, Any]]
"""Components by their ids."""

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


def component_ids(topics: DeviceTopics, population: str = "") -> tuple[str, ...]:
    """Return the ids of a population's diagnostic sensors; without one, those of the device itself."""
    base = (topics.fleet, topics.device, *([population] if population else []))
    return tuple(":".join((*base, key)) for key in (_POPULATION if population else _DEVICE))


def diagnostics(topics: DeviceTopics, population: str, seconds: float) -> Components:
    """Return the diagnostic sensors of a population; with an empty name, those of the device itself.

    ``seconds`` is the interval between states.
    """
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
            "encoding": ENCODING,
            **fields,
        }
        for id_, (key, (name, fields)) in zip(component_ids(topics, population), kinds.items(), strict=True)
    }


def announcement(
    topics: DeviceTopics, version: str, profile: str, components: Components, gone: Mapping[str, str]
) -> dict[str, Any]:
    """Return the message of a device; ``gone`` are the ids to remove, with their platforms."""
    removed = {id_: {"platform": platform} for id_, platform in gone.items()}
    return {
        "device": {
            "identifiers": [f"edge-agent:{topics.fleet}:{topics.device}"],
            "name": topics.device,
            "manufacturer": "edge-agent",
            "model": profile,
            "sw_version": version,
        },
        "origin": {"name": "edge-agent", "sw_version": version},
        "components": {**removed, **components},
        "state_topic": topics.state,
        "availability": [
            {
                "topic": topics.state,
                "value_template": "{{ 'online' if value_json.get('online', true) else 'offline' }}",
            },
            {
                "topic": topics.birth,
                "value_template": "{{ 'offline' if 'online\\xc2' in value else 'online' }}",
            },
        ],
        "qos": 0,
    }


def gone_component(topics: DeviceTopics, id_: str, platform: str) -> dict[str, Any]:
    """Return a component that was announced earlier, complete enough to be discovered and then removed."""
    found: dict[str, Any] = {
        "platform": platform,
        "unique_id": id_,
        "value_template": "{{ None }}",
        "encoding": ENCODING,
    }
    if platform == "select":
        found |= {"options": ["-"], "command_topic": topics.override("-")}
    return found


def fitting(groups: Iterable[Components], taken: int = HEAD_BYTES) -> tuple[Components, int]:
    """Return the components of as many of the first groups as `MAX_BYTES` has room for, and how many those
    are; ``taken`` bytes are in use already.
    """
    found: Components = {}
    room, count = MAX_BYTES - taken, 0
    for components in groups:
        room -= len(encode(components))
        if room < 0:
            break
        found |= components
        count += 1
    return found, count


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message as JSON, in ASCII."""
    return json.dumps(message, separators=(",", ":")).encode("ascii")
