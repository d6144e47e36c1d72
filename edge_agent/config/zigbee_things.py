"""From Zigbee2MQTT's list of devices to populations: which thing shows what, and which takes what.

Theory of operation. ``bridge/devices`` tells for each device what it exposes: features with a property (its
key in the state's JSON), a unit, an access (1: published, 2: can be set) and values. A model's modality is
read from the property of its name, of the name in `PROPERTIES`, or of the one that was said. A control is
sent to the first property that can be set and takes its values: the same words, or a switch, off for the
control's first value and on for all others. A device that shows a modality is an agent; the things it acts on
are those whose names begin with its name. Agents whose entries are alike make one population.
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
"""Where a modality and the property of a device usually have different names."""
OFF = frozenset({"off", "0", "false", "none", "closed"})
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Feature:
    """One property of a device; ``values`` are the words it takes, off and on of a switch for ``binary``."""

    name: str
    unit: str
    access: int
    values: tuple[Any, ...]
    binary: bool


@dataclass(frozen=True, slots=True)
class Thing:
    """One device, by the name that its topics have."""

    name: str
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a model has: names and units of modalities, and the values of each control."""

    modalities: Mapping[str, str]
    controls: Mapping[str, Sequence[str]]


def read_devices(payload: bytes, topic: str) -> list[Thing]:
    """Return the devices in the payload of ``bridge/devices``.

    Raises
    ------
    ConfigError
        It is not a list of devices.
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
            yield from _features(entry.get("features"))  # a fan, a switch: what it groups


def populations(
    things: Sequence[Thing],
    wanted: Wanted,
    base: str,
    stale_s: float,
    agents: Sequence[str] = (),
    properties: Mapping[str, str] | None = None,
) -> tuple[list[Entry], list[str]]:
    """Return populations (``agents``, ``observe``, ``act``), and a line for each thing that was left out.

    Parameters
    ----------
    things : sequence of Thing
        The devices.
    wanted : Wanted
        What the model observes and does.
    base : str
        The first level of Zigbee2MQTT's topics.
    stale_s : float
        Seconds after which a reading is no longer believed.
    agents : sequence of str
        Devices that shall be agents; none: each that shows a modality and has something to act on.
    properties : mapping of str to str, optional
        The property of a modality or control, where it is not found by name.

    Raises
    ------
    ConfigError
        A device, modality or control is not there, or no device shows what the model observes.
    """
    said = dict(properties or {})
    for name in said:
        if name not in wanted.modalities and name not in wanted.controls:
            expected = ", ".join((*wanted.modalities, *wanted.controls))
            raise ConfigError(
                f"--property {name}: the model has no such modality or control, only {expected}"
            )
    names = [thing.name for thing in things]
    for agent in agents:
        if agent not in names:
            raise ConfigError(f"--agent {agent}: Zigbee2MQTT has no such device, only {', '.join(names)}")
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
                    f"--agent {thing.name}: shows {_shown(thing)}, and the model observes "
                    f"{', '.join(wanted.modalities)} (--property MODALITY=PROPERTY says which is which)"
                )
            continue
        if not act:
            lines.append(
                f"{thing.name}: has nothing that takes {' or '.join(wanted.controls)}, left "
                + ("without act entries" if thing.name in agents else "out")
                + f" (a device called {thing.name}-... belongs to it)"
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
            f"{base}/bridge/devices: none of {', '.join(names) or 'no devices'} shows one of "
            f"{', '.join(wanted.modalities)} and has a thing for {', '.join(wanted.controls)}"
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
