"""Keeps the documents of fleets without a running rollout from ending before their devices have seen them.

Theory of operation. A hub that looks hears what the broker retains for a fleet, signs anew what ends soon and
is awaited (`Desired.renew`), and leaves. A running rollout does the same for its own fleet
(`edge_hub.deployment`), so that one writer at a time changes a fleet's documents.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from edge_agent.wire import topics
from edge_hub.connection import Connection
from edge_hub.desired import Desired
from edge_hub.fleet import Fleet

CHANNELS = ("up/reported", "down/desired")
AT_ONCE = 500
"""Documents between two waits for the broker."""
LOOKS = 20
"""Looks during the time that a document is valid."""
MOST_PAUSE_S = 3600.0


def pause(expires: float) -> float:
    """Return the seconds between two looks, for documents that are valid for ``expires`` seconds."""
    return min(MOST_PAUSE_S, expires / LOOKS)


def filters(fleet: str) -> tuple[str, ...]:
    """Return what `run` listens to."""
    return tuple(f"edge/v1/{fleet}/+/{channel}" for channel in CHANNELS)


def run(link: Connection, desired: Desired, go_on: Callable[[], bool]) -> int:
    """Sign anew what ends soon; return how many documents.

    ``link`` is subscribed to `filters`; ``go_on`` is asked before anything is published.

    Raises
    ------
    PlatformError
        The broker went away.
    """
    fleet = Fleet()
    while not link.settled:
        link.insist()
        if not go_on():
            return 0
        for message in link.messages(0.2):
            with fleet.rejected.around(message.topic, message.payload):
                address = topics.parse(message.topic)
                if address.channel == "down/desired":
                    desired.note(address.device, message.payload)
                else:
                    fleet.handle(message.topic, message.payload, time.time())
    count = 0
    while go_on() and (renewed := desired.renew(reports(fleet), time.time(), AT_ONCE)):
        desired.finish()
        count += len(renewed)
    return count


def reports(fleet: Fleet) -> dict[str, dict[str, Any]]:
    """Return what devices report, by their names."""
    return {name: device.reported for name, device in fleet.devices.items()}
