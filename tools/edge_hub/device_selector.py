"""Selection of devices: ``all``, names, patterns like ``room-*``, or a birth field like
``profile=pi4b-1gb``.

Terms are separated by commas; a device is selected if one of the terms matches.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from edge_agent.errors import ConfigError
from edge_hub.fleet import Device


def select(devices: Iterable[Device], text: str) -> list[Device]:
    """Return the devices that are meant, sorted by name.

    Raises
    ------
    ConfigError
        A term is empty, or no device fits.
    """
    terms = text.split(",")
    if not all(terms):
        raise ConfigError(f"--to: found {text!r}, expected all, names, patterns or key=value, by commas")
    chosen = [d for d in sorted(devices, key=lambda d: d.name) if any(_fits(d, term) for term in terms)]
    if not chosen:
        raise ConfigError(f"--to: no device fits {text!r}")
    return chosen


def _fits(device: Device, term: str) -> bool:
    key, equals, value = term.partition("=")
    if equals:
        return fnmatchcase(str(device.birth.get(key, "")), value)
    return term == "all" or fnmatchcase(device.name, term)
