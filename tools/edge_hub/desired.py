"""What each device should run, as the broker retains it, and the next document made from that.

Theory of operation. A desired document is never written from nothing: what it does not change stays as the
last one had it. Its version is the Unix time in milliseconds, or one more than the last: it goes up even if
the hub lost all it knew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edge_agent.wire import bodies, documents, messages
from edge_agent.wire.messages import Message
from edge_agent.wire.signatures import SecretKey
from edge_agent.wire.topics import DeviceTopics
from edge_hub.connection import Connection
from edge_hub.rotations import Rotation


class Desired:
    """The desired documents of one fleet.

    Parameters
    ----------
    link : Connection
        Where they are published.
    fleet : str
        The fleet's name.
    keys : sequence of SecretKey
        Who signs.
    rotations : sequence of Rotation
        What a device must follow to believe those keys.
    expires : float
        Seconds a document is valid.
    """

    def __init__(
        self,
        link: Connection,
        fleet: str,
        keys: Sequence[SecretKey],
        rotations: Sequence[Rotation],
        expires: float,
    ) -> None:
        self._link = link
        self._fleet = fleet
        self._keys = keys
        self._rotations = rotations
        self._expires = expires
        self._documents: dict[str, dict[str, Any]] = {}

    def note(self, device: str, payload: bytes) -> None:
        """Take note of what the broker retains for a device.

        Raises
        ------
        PeerError
            It is not a signed document.
        """
        if payload:
            body = messages.decode(payload).body
            bodies.check(bodies.SIGNED, body, "desired")
            self._documents[device] = json.loads(body["doc"])

    def of(self, device: str) -> dict[str, Any]:
        """Return the last document of a device, empty if there is none."""
        return self._documents.get(device, {})

    def publish(self, device: str, changes: Mapping[str, Any], reported: int, now: float) -> int:
        """Publish the document that follows; return its version.

        ``changes`` are keys of the document, ``reported`` is the version that the device says it has taken
        over.
        """
        old = self.of(device)
        document = {
            "bundles": {},
            "populations": {},
            "parameters": {},
            "gates": {},
            **old,
            **changes,
            "fleet": self._fleet,
            "device": device,
            "version": max(int(now * 1000), max(old.get("version", 0), reported) + 1),
            "issued": now,
            "expires": now + self._expires,
        }
        body = documents.signed(document, documents.DESIRED, self._keys, self._rotations)
        topic = DeviceTopics(self._fleet, device).desired
        self._link.publish(topic, messages.encode(Message(body, t=now)), retain=True)
        self._documents[device] = document
        return int(document["version"])
