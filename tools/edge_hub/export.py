"""What the hub has stored, as a file of readings (`edge_agent.wire.readings`).

Theory of operation. A reading is one value of one series: the agent is ``FLEET/DEVICE``, the modality the
series (``rss``, ``health/FIGURE``, ``POPULATION/COUNTER``). A message holds what changed, so a series has
readings where it changed. Samples of agents (``[[telemetry]]`` of the device) are readings of
``FLEET/DEVICE/POPULATION/AGENT``, at their own times: a reading has the name of its modality, other samples
are ``belief/FACTOR=STATE``, ``action/CONTROL`` and ``figure/NAME``. Bins and actions by number are not in the
file; ``edge-agent record`` writes those.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import numpy as np

from edge_agent.errors import ConfigError
from edge_agent.wire.readings import MAX_AGENTS, MAX_EVENTS, MAX_NAMES, NOT_OBSERVED, ModalityNames, Readings
from edge_hub.database import devices, history
from edge_hub.database.engine import Database
from edge_hub.database.history import Resolution
from edge_hub.domain import filters
from edge_hub.domain.series import of_agent
from edge_hub.remote import RemoteHub

PAGE = 1000
Rows = Iterator[tuple[float, dict[str, float]]]
"""Time (Unix seconds) and the values of series."""


def from_database(
    database: Database, text: str, now: float, since: float, until: float, resolution: Resolution
) -> Iterator[tuple[str, Rows]]:
    """Yield the devices that fit a filter, each with what it reported."""

    def rows(number: int) -> Rows:
        after = None
        while True:
            with database.read() as connection:
                found = history.page(connection, number, since, until, resolution, after, PAGE)
            for _, moments in found:
                yield from moments
            if len(found) < PAGE:
                return
            after = found[-1][0]

    for fleet, name in sorted(devices.numbers_of(database, filters.parse(text), now)):
        with database.read() as connection:
            number = devices.number(connection, fleet, name)
        if number is not None:
            yield f"{fleet}/{name}", rows(number)


def from_service(
    hub: RemoteHub, text: str, since: float, until: float, resolution: Resolution
) -> Iterator[tuple[str, Rows]]:
    """Yield the devices of a service that fit a filter, each with what it reported."""

    def rows(path: str) -> Rows:
        after = ""
        while True:
            page = hub.get(path, since=since, until=until, resolution=resolution, after=after, limit=PAGE)
            for row in page["rows"]:
                yield row["t"], row["values"]
            after = page["after"]
            if not after:
                return

    for row in sorted(hub.devices(text), key=lambda row: (row["fleet"], row["name"])):
        path = f"/devices/{quote(row['fleet'])}/{quote(row['name'])}/telemetry"
        yield f"{row['fleet']}/{row['name']}", rows(path)


def readings(found: Iterable[tuple[str, Rows]]) -> Readings:
    """Return readings of all devices that reported something.

    Raises
    ------
    ConfigError
        There is more than a file of readings holds.
    """
    agents: dict[str, int] = {}
    names: dict[str, int] = {}
    times, agent, modality, value = array("d"), array("q"), array("q"), array("d")
    for label, rows in found:
        for t, values in rows:
            for series, number in values.items():
                owner, name = _owner(label, series)
                times.append(t)
                agent.append(agents.setdefault(owner, len(agents)))
                modality.append(names.setdefault(name, len(names)))
                value.append(number)
            _check("values", len(times), MAX_EVENTS)
        _check("devices and agents", len(agents), MAX_AGENTS)
        _check("series", len(names), MAX_NAMES)
    none = np.empty(0, np.int64)
    return Readings(
        tuple(agents),
        tuple(ModalityNames(name, "bytes" if name == "rss" else "") for name in names),
        (),
        np.array(times, np.float64),
        np.array(agent, np.int64),
        np.array(modality, np.int64),
        np.array(value, np.float64),
        np.full(len(times), NOT_OBSERVED, np.int64),
        np.empty(0, np.float64),
        none,
        none,
        none,
    )


def _owner(label: str, series: str) -> tuple[str, str]:
    """Return whose series it is, and its name in the file."""
    found = of_agent(series)
    if found is None:
        return label, series
    return f"{label}/{found.population}/{found.agent}", found.name.removeprefix("reading/")


def _check(what: str, found: int, most: int) -> None:
    if found > most:
        raise ConfigError(f"export: found more than {most} {what}; choose less by --to, --since and --until")
