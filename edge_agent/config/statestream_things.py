"""Makes populations from the topics of Home Assistant's MQTT statestream: which entities an agent observes.

Theory of operation. The integration ``mqtt_statestream`` publishes each entity's state as text on
``BASE/DOMAIN/OBJECT/state``, retained, and its attributes as JSON beside it (``.../unit_of_measurement``). An
entity whose object id ends in ``_MODALITY`` is read as that modality, or in a name of `PROPERTIES`, or in the
one given by the user; what stands before it is the agent: ``sensor.meeting_co2`` is the CO2 of the agent
``meeting``. Agents with equal entries are one population. Statestream takes no commands, so each control is
published on ``edge-agent/AGENT/CONTROL``, for an automation. Source: home-assistant.io, "MQTT Statestream".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.config.zigbee_things import PROPERTIES, Wanted
from edge_agent.errors import ConfigError

SWITCHED = frozenset({"on", "off"})
UNKNOWN = frozenset({"unavailable", "unknown", ""})
Entry = dict[str, Any]


@dataclass(slots=True)
class Entity:
    """One entity of Home Assistant."""

    domain: str
    object_id: str
    state: str = ""
    unit: str = ""


def read_entities(messages: Mapping[str, bytes], base: str) -> list[Entity]:
    """Return the entities in retained messages, by topic, below ``base``."""
    found: dict[tuple[str, str], Entity] = {}
    for topic, payload in sorted(messages.items()):
        levels = topic.removeprefix(f"{base}/").split("/")
        if len(levels) != 3 or levels[2] not in ("state", "unit_of_measurement"):
            continue
        domain, object_id, key = levels
        entity = found.setdefault((domain, object_id), Entity(domain, object_id))
        text = payload.decode("utf-8", "replace")
        if key == "state":
            entity.state = text
        else:
            try:
                entity.unit = str(json.loads(text))
            except (ValueError, RecursionError):
                entity.unit = text
    return list(found.values())


def populations(
    entities: Sequence[Entity],
    wanted: Wanted,
    base: str,
    stale_s: float,
    own: str,
    agents: Sequence[str] = (),
    properties: Mapping[str, str] | None = None,
) -> tuple[list[Entry], list[str]]:
    """Return populations (``agents``, ``observe``, ``act``), and a line for each agent that was omitted.

    Parameters
    ----------
    entities : sequence of Entity
        All entities.
    wanted : Wanted
        The model's modalities and controls.
    base : str
        Statestream's base_topic.
    stale_s : float
        Seconds after which a reading is stale.
    own : str
        Name of this device: entities that it shows in Home Assistant itself are not observed.
    agents : sequence of str
        Agents; empty: each one that reports two of the model's modalities, or its only one.
    properties : mapping of str to str, optional
        The end of the object id of a modality that has another name.

    Raises
    ------
    ConfigError
        A modality or agent does not exist, or no entity reports what the model observes.
    """
    said = dict(properties or {})
    for name in said:
        if name not in wanted.modalities:
            expected = ", ".join(wanted.modalities)
            raise ConfigError(f"--property {name}: found no such modality, expected one of {expected}")
    rooms: dict[str, dict[str, Entry]] = {}
    for entity in entities:
        if not entity.object_id.startswith(f"{_slug(own)}_"):
            for agent, entry in _readings(entity, wanted, base, stale_s, said):
                known = rooms.setdefault(agent, {})
                if entity.domain == "sensor" or entry["modality"] not in known:
                    known[entry["modality"]] = entry
    for agent in agents:
        if agent not in rooms:
            raise ConfigError(
                f"--agent {agent}: found no entity {agent}_NAME with a NAME that the model observes "
                f"({', '.join(wanted.modalities)}), expected one of {', '.join(sorted(rooms)) or 'none'}"
            )
    made: list[Entry] = []
    lines: list[str] = []
    for agent in agents or sorted(rooms):
        observe = [rooms[agent][name] for name in wanted.modalities if name in rooms[agent]]
        if not agents and len(observe) < min(2, len(wanted.modalities)):
            lines.append(f"{agent}: reports only {observe[0]['modality']}, omitted (--agent {agent} adds it)")
            continue
        for population in made:
            if population["observe"] == observe:
                population["agents"].append(agent)
                break
        else:
            made.append({"agents": [agent], "observe": observe, "act": list(_act(wanted))})
    if not made:
        raise ConfigError(
            f"{base}/#: found {len(entities)} entities, expected some whose names end in "
            f"{', '.join(f'_{_slug(name)}' for name in wanted.modalities)}"
        )
    return made, lines


def _readings(
    entity: Entity, wanted: Wanted, base: str, stale_s: float, said: Mapping[str, str]
) -> Iterator[tuple[str, Entry]]:
    """Yield agent and entry of each modality that the entity can be read as."""
    for modality, unit in wanted.modalities.items():
        for name in [said[modality]] if modality in said else [modality, *PROPERTIES.get(modality, ())]:
            end = f"_{_slug(name)}"
            agent = entity.object_id.removesuffix(end)
            if agent in ("", entity.object_id) or (unit and not _measures(entity, unit, modality in said)):
                continue
            topic = f"{base}/{entity.domain}/{{agent}}{end}/state"
            entry: Entry = {"modality": modality, "topic": topic, "stale_s": stale_s}
            if entity.state in SWITCHED and not unit:
                entry["values"] = {"off": 0, "on": 1}
            yield agent, entry
            break


def _measures(entity: Entity, unit: str, said: bool) -> bool:
    """Whether an entity's state is a number in ``unit``, as far as it is known."""
    if entity.unit and entity.unit != unit and not said:
        return False
    try:
        float(entity.state)
    except ValueError:
        return entity.state in UNKNOWN
    return True


def _act(wanted: Wanted) -> Iterator[Entry]:
    for control in wanted.controls:
        yield {"control": control, "topic": f"edge-agent/{{agent}}/{_slug(control)}"}


def _slug(name: str) -> str:
    """Return a name as Home Assistant writes it in object ids."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
