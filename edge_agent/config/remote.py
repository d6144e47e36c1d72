"""Which keys of device.toml a hub may set, and how its values are laid over the file.

Theory of operation. The file belongs to whoever administers the board; a hub never writes it. What a hub sets
is kept in the state directory and laid over the file each time that the file is read: the result is checked
as if it had been written there, all of it or nothing. A key that is not listed here can't be set. The
director's key signs these values and lies on the hub, so the list has what changes how much is measured, how
often agents decide and how long they wait, and nothing that says with whom the device speaks, whom it
believes, which files and programs it uses, which model runs or what it is connected to:

=====================  ======================================================================================
keys                   why a hub may set them
=====================  ======================================================================================
device                 how much is told: ``telemetry_s``, ``log_level``
population             how often agents decide: ``rate_hz`` (the limit of the profile holds)
population, observe    when a reading no longer counts: ``stale_s``
population, act        how reluctantly an action changes: ``dwell_s``, ``margin``
=====================  ======================================================================================

None of them needs memory or a restart, so values apply and are undone between two steps, and agents keep
their beliefs. A population that a hub added has the configuration of its release and is not found here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from edge_agent.errors import ConfigError

if TYPE_CHECKING:
    from edge_agent.config.records import ActConfig, Config, DeviceConfig, ObserveConfig, PopulationConfig

T = TypeVar("T", "DeviceConfig", "PopulationConfig", "ObserveConfig", "ActConfig")

DEVICE = ("telemetry_s", "log_level")
POPULATION = ("rate_hz",)
OBSERVE = ("stale_s",)
ACT = ("dwell_s", "margin")
_PARTS = {"observe": ("modality", OBSERVE), "act": ("control", ACT)}


def laid_over(document: Mapping[str, Any], remote: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the values that a hub set; they are still to be checked.

    Parameters
    ----------
    document : mapping
        A device.toml as plain data.
    remote : mapping
        ``device`` {key: value} and ``population`` {name: {key: value, observe: {modality: {key: value}},
        act: {control: {key: value}}}}.

    Raises
    ------
    ConfigError
        A key can't be set by a hub, or there is no population, modality or control of a name.
    """
    found: dict[str, Any] = deepcopy(dict(document))
    _known(remote, "configuration", ("device", "population"))
    device = _table(remote, "device", "configuration")
    _known(device, "configuration: device", DEVICE)
    found["device"].update(device)
    populations = {entry["name"]: entry for entry in found["population"]}
    for name in (wanted := _table(remote, "population", "configuration")):
        place = f"configuration: population.{name}"
        if name not in populations:
            raise ConfigError(f"{place}: found no such population, expected {_names(populations)}")
        _lay_population(populations[name], _table(wanted, name, "configuration: population"), place)
    return found


def _lay_population(population: dict[str, Any], remote: Mapping[str, Any], place: str) -> None:
    _known(remote, place, (*POPULATION, *_PARTS))
    for key, value in remote.items():
        if key not in _PARTS:
            population[key] = value
            continue
        named, keys = _PARTS[key]
        entries = population[key]
        for name in (parts := _table(remote, key, place)):
            chosen = [entry for entry in entries if entry[named] == name]
            where = f"{place}.{key}.{name}"
            if not chosen:
                known = _names([entry[named] for entry in entries])
                raise ConfigError(f"{where}: found no {key} entry of that {named}, expected {known}")
            values = _table(parts, name, f"{place}.{key}")
            _known(values, where, keys)
            for entry in chosen:
                entry.update(values)


def with_settable(running: Config, wanted: Config) -> Config:
    """Return ``running`` with what a hub may set as ``wanted`` has it.

    Raises
    ------
    ConfigError
        They differ in their populations: the file was edited and not read again.
    """
    if _outline(running) != _outline(wanted):
        raise ConfigError("configuration: the file was edited and not read again; reload it first")
    return replace(
        running,
        device=_with(running.device, wanted.device, DEVICE),
        population=tuple(
            replace(
                _with(entry, other, POPULATION),
                observe=tuple(map(_with, entry.observe, other.observe, repeat(OBSERVE))),
                act=tuple(map(_with, entry.act, other.act, repeat(ACT))),
            )
            for entry, other in zip(running.population, wanted.population, strict=True)
        ),
    )


def _outline(config: Config) -> list[Any]:
    return [
        (entry.name, [o.modality for o in entry.observe], [a.control for a in entry.act])
        for entry in config.population
    ]


def _with(entry: T, other: T, keys: tuple[str, ...]) -> T:
    return replace(entry, **{key: getattr(other, key) for key in keys})


def listed(remote: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (key with dots, value) of each value that a hub set."""
    for key, value in remote.items():
        if isinstance(value, Mapping):
            yield from listed(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _table(remote: Mapping[str, Any], key: str, place: str) -> Mapping[str, Any]:
    value = remote.get(key, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"{place}.{key}: found {str(value)[:80]!r}, expected a table")
    return value


def _known(remote: Mapping[str, Any], place: str, keys: tuple[str, ...]) -> None:
    for key in remote:
        if key not in keys:
            raise ConfigError(f"{place}.{key}: can't be set by a hub, expected {_names(keys)}")


def _names(names: Any) -> str:
    found = list(names)
    return f"one of {', '.join(map(str, found[:20]))}" if found else "none"
