"""The retained desired document of each device, and the next document based on it.

Theory of operation. A desired document is always based on the previous one: what it does not change stays as
it was. Its version is the Unix time in milliseconds, or the previous version plus one, so it increases even
if the hub has lost its state.

A retained document is used only if the hub's own keys have signed it; otherwise any client that can publish
there could have the hub sign its content. Other documents are left unchanged, because their devices may
obey another hub.

A device that was offline must not find a document that has ended: half of its time before that, a document
that its device has not taken over yet is signed anew (`Desired.renew`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.wire import bodies, documents, messages
from edge_agent.wire.body_checks import check_plain
from edge_agent.wire.documents import Document
from edge_agent.wire.messages import Message
from edge_agent.wire.signatures import SecretKey
from edge_agent.wire.topics import DeviceTopics
from edge_hub import releases, rotations
from edge_hub.connection import Connection
from edge_hub.signed_json import Signed

RENEWED_PART = 0.5
"""Of a document's time; it is signed anew when less is left."""


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
    known : sequence of Rotation
        What a device must follow to believe those keys.
    expires : float
        Seconds a document is valid.
    known_releases : sequence of Signed
        The fleet's releases; those of a document's populations go with it.
    """

    def __init__(
        self,
        link: Connection,
        fleet: str,
        keys: Sequence[SecretKey],
        known: Sequence[rotations.Rotation],
        expires: float,
        known_releases: Sequence[Signed] = (),
    ) -> None:
        self._link = link
        self._fleet = fleet
        self._keys = keys
        self._rotations = known
        self._makers = rotations.makers(fleet, known, keys)
        self.expires = expires
        self._releases = known_releases
        self._documents: dict[str, Document] = {}
        self._published: dict[str, bytes] = {}
        self._foreign: dict[str, str] = {}

    def note(self, device: str, payload: bytes) -> None:
        """Record what the broker retains for a device.

        Raises
        ------
        PeerError
            It is not a document for that device, signed by the hub's keys.
        """
        if payload and self._published.get(device) == _digest(payload):
            return  # our own, as the broker repeats it
        self._documents.pop(device, None)
        self._foreign.pop(device, None)
        if not payload:
            return
        try:
            self._documents[device] = self._opened(device, messages.decode(payload).body)
        except PeerError as error:
            self._foreign[device] = str(error)
            raise

    def of(self, device: str) -> Document:
        """Return the last document of a device, empty if there is none."""
        return self._documents.get(device, {})

    def publish(self, device: str, changes: Mapping[str, Any], reported: int, now: float) -> int:
        """Publish the document that follows and wait until the broker has it; return its version.

        As `begin`; besides, PlatformError if the broker does not acknowledge.
        """
        version = self.begin(device, changes, reported, now)
        self.finish()
        return version

    def finish(self) -> None:
        """Wait until the broker has the documents that were begun.

        Raises
        ------
        PlatformError
            It does not acknowledge one.
        """
        self._link.finish_publish()

    def begin(self, device: str, changes: Mapping[str, Any], reported: int, now: float) -> int:
        """Publish the document that follows; return its version. `finish` waits for the broker.

        ``changes`` are keys of the document, ``reported`` is the version that the device says it has taken
        over.

        Raises
        ------
        PeerError
            The broker retains a document for the device that the hub's keys did not sign, or a device would
            refuse the new one.
        """
        if device in self._foreign:
            topic, why = DeviceTopics(self._fleet, device).desired, self._foreign[device]
            raise PeerError(f"{topic}: {why}; expected a document of --sign's keys, or none")
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
            "expires": now + self.expires,
        }
        check_plain(document, DeviceTopics(self._fleet, device).desired)
        body = documents.signed(document, documents.DESIRED, self._keys, self._rotations)
        if going := releases.chosen(self._releases, document["populations"], device):
            body["releases"] = going
        topic = DeviceTopics(self._fleet, device).desired
        payload = messages.encode(Message(body, t=now))
        self._link.begin_publish(topic, payload, retain=True)
        self._documents[device], self._published[device] = document, _digest(payload)
        return int(document["version"])

    def renew(self, reports: Mapping[str, Mapping[str, Any]], now: float, most: int) -> dict[str, int]:
        """Begin to publish documents anew that end soon, at most ``most``; return device → version.

        ``reports`` are the devices' reported documents. What a device has taken over stays, and so does
        what it refused for another reason than its age: it would refuse it again.
        """
        renewed: dict[str, int] = {}
        for device, document in self._documents.items():
            report = reports.get(device, {})
            ends_soon = document["expires"] - now < RENEWED_PART * self.expires
            if len(renewed) < most and ends_soon and _is_awaited(document, report):
                renewed[device] = 0
        for device in renewed:
            renewed[device] = self.begin(device, {}, reports.get(device, {}).get("version", 0), now)
        return renewed

    def allows(self, population: str, bundle: str, number: int) -> bool:
        """Whether a release of at least ``number`` is known that lets a population run a bundle."""
        return releases.names_bundle(self._releases, population, bundle, {}, number)

    def _opened(self, device: str, body: Mapping[str, Any]) -> Document:
        reasons: list[str] = []
        for maker in self._makers:
            try:
                document = maker.opened(body, documents.DESIRED, bodies.DESIRED)
            except PeerError as error:
                reasons.append(str(error))
                continue
            if document["device"] != device:
                raise PeerError(f"desired: for device {document['device']!r}, expected {device!r}")
            return document
        raise PeerError(reasons[0])


def _is_awaited(document: Document, report: Mapping[str, Any]) -> bool:
    """Whether a device may still take a document over."""
    refused = report.get("refused", {})
    if refused.get("version") == document["version"]:
        return bool(refused.get("reason") == "expired")
    return bool(report.get("version", 0) < document["version"])


def _digest(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=16).digest()
