"""Checks of ``peers``, ``objective`` and ``population.share`` that involve several keys; see
``config.checks``.

Runs in the child process that checks the configuration, on a document whose keys and types are right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.config.templates import check_fields
from edge_agent.errors import ConfigError
from edge_agent.wire.presence import MAX_CAPABILITIES, MAX_PLACE, MAX_TEXT
from edge_agent.wire.topics import check_name

_POSITIONS = ("place", "at_m", "lat_lon", "h3")
_EXTENT_M = 2_000_000.0
_MOST_SHARED = 256


def resolve_peers(document: Mapping[str, Any], base: Path) -> None:
    """Make the paths of ``peers`` absolute."""
    peers = document["peers"]
    if peers is None:
        return
    if peers["key_file"]:
        peers["key_file"] = str(base / peers["key_file"])
    peers["keys"] = {device: str(base / path) for device, path in peers["keys"].items()}


def check_peers(document: Mapping[str, Any]) -> None:
    """Check what the sections about peers say together.

    Raises
    ------
    ConfigError
        Names the key, what was found and what was expected.
    """
    peers = document["peers"]
    shares = [p for p in document["population"] if p["share"]]
    if peers is None:
        if document["objective"] or shares:
            raise ConfigError("peers: missing, expected where there are objectives or shared factors")
        return
    if document["broker"] is None:
        raise ConfigError("broker: missing, expected where there are peers")
    _check_position(peers, "peers")
    _check_texts(peers["capabilities"], "peers.capabilities", MAX_CAPABILITIES)
    for device in peers["keys"]:
        check_name(device, "peers.keys")
    if peers["keys"] and not peers["key_file"]:
        raise ConfigError("peers.key_file: missing, expected this device's key beside those of others")
    names: set[str] = set()
    for number, objective in enumerate(document["objective"]):
        _check_objective(objective, f"objective[{number}]", names)
    for number, population in enumerate(document["population"]):
        _check_shares(population, f"population[{number}]", peers["period_s"])


def _check_position(table: Mapping[str, Any], key: str) -> None:
    given = [name for name in _POSITIONS if table[name]]
    if len(given) > 1:
        raise ConfigError(f"{key}.{given[1]}: found beside {given[0]}, expected one position")
    if len(table["place"]) > MAX_PLACE:
        raise ConfigError(
            f"{key}.place: found {len(table['place'])} characters, expected at most {MAX_PLACE}"
        )
    if table["at_m"] and any(abs(value) > _EXTENT_M for value in table["at_m"]):
        raise ConfigError(f"{key}.at_m: found {table['at_m']}, expected at most {_EXTENT_M:g} m from 0")
    if table["lat_lon"] and (abs(table["lat_lon"][0]) > 90 or abs(table["lat_lon"][1]) > 180):
        raise ConfigError(f"{key}.lat_lon: found {table['lat_lon']}, expected latitude, longitude in degrees")
    if table["h3"] and (len(table["h3"]) != 15 or not set(table["h3"].lower()) <= set("0123456789abcdef")):
        raise ConfigError(f"{key}.h3: found {table['h3']!r}, expected 15 hexadecimal digits")


def _check_texts(texts: list[str], key: str, most: int) -> None:
    if len(texts) > most:
        raise ConfigError(f"{key}: found {len(texts)}, expected at most {most}")
    for text in texts:
        if len(text) > MAX_TEXT:
            raise ConfigError(f"{key}: found {text[:20]!r}..., expected at most {MAX_TEXT} characters")


def _check_objective(objective: Mapping[str, Any], key: str, names: set[str]) -> None:
    if objective["name"] in names:
        raise ConfigError(f"{key}.name: found {objective['name']!r} twice, expected unique names")
    names.add(objective["name"])
    _check_position(objective, key)
    if objective["reach"] is not None and not any(objective[name] for name in _POSITIONS):
        raise ConfigError(f"{key}.reach: found {objective['reach']:g}, expected a position to count it from")
    roles: set[str] = set()
    for number, role in enumerate(objective["role"]):
        if role["name"] in roles:
            raise ConfigError(
                f"{key}.role[{number}].name: found {role['name']!r} twice, expected unique names"
            )
        roles.add(role["name"])
    for number, (one, other, _) in enumerate(objective["synergy"]):
        for name in (one, other):
            if name not in roles:
                expected = ", ".join(sorted(roles))
                raise ConfigError(f"{key}.synergy[{number}]: found {name!r}, expected one of {expected}")


def _check_shares(population: dict[str, Any], key: str, period: float) -> None:
    if not population["share"]:
        return
    if population["step"] != "rate":
        raise ConfigError(
            f"{key}.step: found {population['step']!r}, expected 'rate' where a factor is shared"
        )
    if population["rate_hz"] is None:
        population["rate_hz"] = 1.0 / period
    if abs(population["rate_hz"] * period - 1.0) > 1e-6:
        raise ConfigError(
            f"{key}.rate_hz: found {population['rate_hz']:g}, expected {1.0 / period:g}:"
            " a step each fleet tick (peers.period_s)"
        )
    for number, entry in enumerate(population["observe"]):
        for name in ("probabilities", "uncertainty", "uncertainty_pointer"):
            if entry[name]:
                raise ConfigError(
                    f"{key}.observe[{number}].{name}: found {entry[name]!r}, expected none where a factor is "
                    "shared: evidence for peers is of outcomes"
                )
    count = population["size"] or len(population["agents"])
    if count > _MOST_SHARED:
        raise ConfigError(
            f"{key}.size: found {count}, expected at most {_MOST_SHARED} where a factor is shared"
        )
    factors = [share["factor"] for share in population["share"]]
    for number, share in enumerate(population["share"]):
        place = f"{key}.share[{number}]"
        if factors.count(share["factor"]) > 1:
            raise ConfigError(f"{place}.factor: found {share['factor']!r} twice, expected each factor once")
        if share["controller"]:
            check_name(share["controller"], f"{place}.controller")
        check_fields(share["channel"], f"{place}.channel", {"agent", "index", "population"})
