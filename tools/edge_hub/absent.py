"""Devices that were heard before and are missing now.

Theory of operation. A broker that drops messages does not report it, and a truncated list of devices looks
complete. The hub therefore stores the names of the devices it has heard at a broker in its folder, and
compares each list with them. A device that was removed from the fleet must be removed from this list by
hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase

from edge_hub.fleet import Fleet
from edge_hub.hub_folder import HubStore

Name = tuple[str, str]
"""Fleet and device."""
MOST_NAMED = 10


def find(store: HubStore, broker: str, fleet: str, heard: Fleet, others: Iterable[Name] = ()) -> list[Name]:
    """Return who is known and was not heard, and keep who was.

    ``fleet`` is the fleet that was listened to, or ``+`` for all; ``others`` are known from elsewhere.
    """
    there = {(device.fleet, name) for name, device in heard.devices.items()}
    known = store.devices(broker)
    expected = {(its, name) for its, names in known.items() for name in names} | set(others)
    for name, device in heard.devices.items():
        known.setdefault(device.fleet, {})[name] = device.seen
    if there:
        store.save_devices(broker, known)
    return sorted(name for name in expected - there if fleet in ("+", name[0]))


def forget(store: HubStore, broker: str, fleet: str, pattern: str) -> int:
    """Forget the devices whose names fit a pattern; return how many."""
    known = store.devices(broker)
    chosen = [
        (its, name)
        for its, names in known.items()
        for name in names
        if fleet in ("+", its) and fnmatchcase(name, pattern)
    ]
    for its, name in chosen:
        del known[its][name]
    store.save_devices(broker, known)
    return len(chosen)


def warn(missing: list[Name]) -> None:
    """Say on standard error who was not heard, if anybody."""
    if missing:
        named = ", ".join("/".join(name) for name in missing[:MOST_NAMED])
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        print(f"edge-hub: {len(missing)} known devices were not heard: {named}{more}", file=sys.stderr)
