"""Makes populations from Zigbee2MQTT's list of devices: which device reports what, and which accepts what.

Theory of operation. ``bridge/devices`` lists what each device exposes: features with a property (its key in
the state's JSON), a unit, an access (1: published, 2: can be set) and values. A modality is read from the
property of the same name, of a name in `PROPERTIES`, or of the name given by the user. A control is sent to
the first property that can be set and accepts its values: the same words, or a switch, off for the control's
first value and on for all others. A device that reports a modality is an agent. It acts on the devices whose
names begin with its name. Agents with equal entries are one population.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import ConfigError

PUBLISHED, SETTABLE = 1, 2
PROPERTIES: Mapping[str, tuple[str, ...]] = {
    "light": ("illuminance", "illuminance_lux"),
    "presence": ("occupancy",),
    "occupancy": ("presence",),
    "door": ("contact",),
    "window": ("contact",),
    "power": ("power",),
}
"""Usual property names of a modality where they differ from the modality's name."""
OFF = frozenset({"off", "0", "false", "none", "closed"})
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Feature:
    """One property of a device; ``values`` are the words it accepts, off and on for ``binary``."""

    name: str
    unit: str
    access: int
    values: tuple[Any, ...]
    binary: bool


@dataclass(frozen=True, slots=True)
class Thing:
    """One device; ``name`` is the name in its topics."""

    name: str
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Names and units of a model's modalities, and the values of each of its controls."""

    modalities: Mapping[str, str]
    controls: Mapping[str, Sequence[str]]


def read_devices(payload: bytes, topic: str) -> list[Thing]:
    """Return the devices in the payload of ``bridge/devices``.

    Raises
    ------
    ConfigError
        The payload is not a list of devices.
    """
    try:
        rows = json.loads(payload)
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, list):
        raise ConfigError(f"{topic}: found {payload[:40]!r}, expected Zigbee2MQTT's list of devices")
    found = []
    for row in rows:
        if not isinstance(row, dict) or row.get("type") == "Coordinator" or row.get("disabled"):
            continue
        name, definition = row.get("friendly_name"), row.get("definition")
        if isinstance(name, str) and isinstance(definition, dict):
            found.append(Thing(name, tuple(_features(definition.get("exposes")))))
    return found


def _features(exposes: Any) -> Iterator[Feature]:
    for entry in exposes if isinstance(exposes, list) else ():
        if not isinstance(entry, dict):
            continue
        name, access, binary = entry.get("property"), entry.get("access"), entry.get("type") == "binary"
        if isinstance(name, str) and isinstance(access, int) and entry.get("type") != "composite":
            found = (entry.get("value_off"), entry.get("value_on")) if binary else entry.get("values") or ()
            yield Feature(name, str(entry.get("unit") or ""), access, tuple(found), binary)
        else:
            yield from _features(entry.get("features"))  # a fan or a switch groups features


def populations(
    things: Sequence[Thing],
    wanted: Wanted,
    base: str,
    stale_s: float,
    agents: Sequence[str] = (),
    properties: Mapping[str, str] | None = None,
) -> tuple[list[Entry], list[str]]:
    """Return populations (``agents``, ``observe``, ``act``), and a line for each device that was omitted.

    Parameters
    ----------
    things : sequence of Thing
        The devices.
    wanted : Wanted
        The model's modalities and controls.
    base : str
        The first level of Zigbee2MQTT's topics.
    stale_s : float
        Seconds after which a reading is stale.
    agents : sequence of str
        Devices that become agents; empty: each one that reports a modality and has a device to act on.
    properties : mapping of str to str, optional
        The property of a modality or control whose property has another name.

    Raises
    ------
    ConfigError
        A device, modality or control does not exist, or no device reports what the model observes.
    """
    said = dict(properties or {})
    for name in said:
        if name not in wanted.modalities and name not in wanted.controls:
            expected = ", ".join((*wanted.modalities, *wanted.controls))
            raise ConfigError(
                f"--property {name}: found no such modality or control, expected one of {expected}"
            )
    names = [thing.name for thing in things]
    for agent in agents:
        if agent not in names:
            raise ConfigError(f"--agent {agent}: found no such device, expected one of {', '.join(names)}")
    made: list[Entry] = []
    lines: list[str] = []
    for thing in things:
        if agents and thing.name not in agents:
            continue
        own = [t for t in things if t.name == thing.name or _belongs(t.name, thing.name, names)]
        observe = [entry for t in own for entry in _observe(t, thing.name, wanted, base, stale_s, said)]
        act = list(_act(own, thing.name, wanted, base, said))
        if not any(entry["topic"] == f"{base}/{{agent}}" for entry in observe):
            if thing.name in agents:
                raise ConfigError(
                    f"--agent {thing.name}: found {_shown(thing)}, expected what the model observes: "
                    f"{', '.join(wanted.modalities)} (map other names with --property MODALITY=PROPERTY)"
                )
            continue
        if not act:
            lines.append(
                f"{thing.name}: no device accepts {' or '.join(wanted.controls)}, "
                + ("written without act entries" if thing.name in agents else "omitted")
                + f" (name a device {thing.name}-... to assign it)"
            )
            if not agents:
                continue
        for population in made:
            if (population["observe"], population["act"]) == (observe, act):
                population["agents"].append(thing.name)
                break
        else:
            made.append({"agents": [thing.name], "observe": observe, "act": act})
    if not made:
        raise ConfigError(
            f"{base}/bridge/devices: none of {', '.join(names) or 'no devices'} reports one of "
            f"{', '.join(wanted.modalities)} and has a device that accepts {', '.join(wanted.controls)}"
        )
    return made, lines


def _belongs(name: str, agent: str, names: Sequence[str]) -> bool:
    """Whether ``name`` begins with the agent's name, and with no longer name of a device."""
    owners = [n for n in names if n != name and name.startswith(n) and name[len(n) : len(n) + 1] in "-_ /."]
    return bool(owners) and max(owners, key=len) == agent


def _topic(base: str, thing: str, agent: str) -> str:
    escaped = thing.replace("{", "{{").replace("}", "}}")
    rest = thing[len(agent) :].replace("{", "{{").replace("}", "}}")
    return f"{base}/{{agent}}{rest}" if thing.startswith(agent) else f"{base}/{escaped}"


def _observe(
    thing: Thing, agent: str, wanted: Wanted, base: str, stale_s: float, said: Mapping[str, str]
) -> Iterator[Entry]:
    topic = _topic(base, thing.name, agent)
    for modality, unit in wanted.modalities.items():
        candidates = [said[modality]] if modality in said else [modality, *PROPERTIES.get(modality, ())]
        for feature in thing.features:
            fits = feature.name in candidates and feature.access & PUBLISHED
            if not fits or (unit and feature.unit and unit != feature.unit and modality not in said):
                continue
            pointer = "/" + feature.name.replace("~", "~0").replace("/", "~1")
            available = [
                {"topic": f"{topic}/availability", "pointer": "/state", "value": "online"},
                {"topic": f"{base}/bridge/state", "pointer": "/state", "value": "online"},
            ]
            entry: Entry = {"modality": modality, "topic": topic, "pointer": pointer, "stale_s": stale_s}
            yield entry | {"availability": available}
            break


def _act(
    things: Sequence[Thing], agent: str, wanted: Wanted, base: str, said: Mapping[str, str]
) -> Iterator[Entry]:
    settable = [(t, f) for t in things for f in t.features if f.access & SETTABLE]
    settable.sort(key=lambda pair: pair[1].binary)  # words of its own before a switch
    for control, values in wanted.controls.items():
        for thing, feature in settable:
            if feature.name != said.get(control, feature.name):
                continue
            mapped = _mapping(values, feature)
            if mapped is None:
                continue
            text = all(isinstance(value, str) for value in (mapped or dict.fromkeys(values, "")).values())
            key = json.dumps(feature.name).replace("{", "{{").replace("}", "}}")
            template = f'{{{{{key}: "{{value}}"}}}}' if text else f"{{{{{key}: {{value}}}}}}"
            entry: Entry = {"control": control, "topic": f"{_topic(base, thing.name, agent)}/set"}
            yield entry | {"template": template} | ({"values": mapped} if mapped else {})
            break


def _mapping(values: Sequence[str], feature: Feature) -> Entry | None:
    """Return what the feature takes for each value ({}: the same words); None if it does not take them."""
    if not feature.binary:
        words = {str(value) for value in feature.values}
        if feature.name == "fan_mode" and words:
            words.add("off")  # taken by Zigbee2MQTT's converter, also of fans that do not list it
        return {} if words and set(values) <= words else None
    off, on = feature.values
    if off is None or on is None or not values or values[0].lower() not in OFF:
        return None
    mapped = {value: on if number else off for number, value in enumerate(values)}
    return {} if all(name == value for name, value in mapped.items()) else mapped


def _shown(thing: Thing) -> str:
    return ", ".join(feature.name for feature in thing.features if feature.access & PUBLISHED) or "nothing"
