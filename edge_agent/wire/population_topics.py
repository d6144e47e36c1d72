"""Checks the topics that a population's configuration makes.

Theory of operation. Agents have names, which a list or a pattern gives; topics have fields, which names and
numbers fill in. A configuration file, a population that a hub adds and one that a peer lends are checked by
the same function, on plain dicts: the device has checked types and fields before (``config.checks``,
``runtime.peers.loan_payload``), the hub has not, so what is of another type is passed over here. Since every
name is a safe level, a topic needs filling in for the longest name only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_agent.errors import ConfigError
from edge_agent.wire.topics import level_fault, topic_fault

_SHOWN = 80
_WIDE = re.compile(r"\{[^{}]*\d{3}[^{}]*\}")
"""A field of a hundred characters or more: filling in asks for as much memory as it says."""


def check_population_topics(population: Mapping[str, Any], name: str, key: str = "") -> None:
    """Check agents' names and the topics of ``observe`` and ``act``.

    Parameters
    ----------
    population : mapping
        ``agents`` (list of names or a pattern), ``size``, ``observe`` and ``act``, as in device.toml.
    name : str
        The population's name.
    key : str
        Where it stands, for messages; "" for the top of its file.

    Raises
    ------
    ConfigError
        One line: key, what was found, what was expected.
    """
    place = f"{key}." if key else ""
    agents = population.get("agents", "{population}-{index}")
    size = population.get("size")
    last = size - 1 if isinstance(size, int) and size > 0 else 0
    listed = not isinstance(agents, str)
    names = (
        list(_texts(agents)) if listed else [_filled(agents, f"{place}agents", name, n) for n in (0, last)]
    )
    for number, agent in enumerate(names):
        fault = level_fault(agent)
        if fault:
            raise ConfigError(
                f"{place}agents{f'[{number}]' if listed else ''}: found {_shown(agent)}: {fault}"
            )
    longest = max(names, key=lambda agent: len(agent.encode("utf-8")), default="")
    for section, outlet in (("observe", "source"), ("act", "sink")):
        for number, entry in enumerate(_tables(population.get(section))):
            topic = entry.get("topic")
            if entry.get(outlet, "mqtt") != "mqtt" or not isinstance(topic, str):
                continue
            where = f"{place}{section}[{number}].topic"
            fault = topic_fault(_filled(topic, where, name, last, longest))
            if fault:
                raise ConfigError(f"{where}: found {_shown(topic)}: {fault}")
            for item, source in enumerate(_tables(entry.get("availability"))):
                heard = str(source.get("topic"))
                where = f"{place}{section}[{number}].availability[{item}].topic"
                fault = topic_fault(_filled(heard, where, name, last, longest))
                if fault:
                    raise ConfigError(f"{where}: found {_shown(heard)}: {fault}")


def _filled(template: str, key: str, population: str, index: int, agent: str = "") -> str:
    if _WIDE.search(template):
        raise ConfigError(f"{key}: found {_shown(template)}, expected fields of less than 100 characters")
    try:
        return template.format(agent=agent, index=index, population=population)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        message = f"{key}: found {_shown(template)}, which cannot be filled in ({type(error).__name__})"
        raise ConfigError(message) from error


def _texts(value: Any) -> Iterable[str]:
    return (text for text in value if isinstance(text, str)) if isinstance(value, Sequence) else ()


def _tables(value: Any) -> Iterable[Mapping[str, Any]]:
    return (entry for entry in value if isinstance(entry, Mapping)) if isinstance(value, Sequence) else ()


def _shown(text: str) -> str:
    return ascii(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!a} and {len(text) - _SHOWN} more"
