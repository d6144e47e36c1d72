"""The twin: which desired document is in force on this device, and why another one was not taken over.

Theory of operation. A document is taken over if enough believed keys signed it, it is for this device of
this fleet, its version is higher than the one in force, and it has not expired. Anything else is refused
with a reason that goes into the reported document; what is in force stays, also past its expiry and
through reboots. The version in force is kept, so an old document replayed by a broker, or a retained one
that came back from a backup, is refused for good. Time for expiry never runs behind the youngest document
taken over: a board without a clock that wakes up in 1970 cannot be fed documents that had expired before
that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.wire import blocks, bodies, documents, messages
from edge_agent.wire.documents import Document, Trust


@dataclass(frozen=True, slots=True)
class Adopted:
    """The document is in force from now on."""

    document: Document


@dataclass(frozen=True, slots=True)
class Unchanged:
    """It is the document in force already."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It was not taken over; ``version`` is 0 if it could not be read."""

    version: int
    reason: str


class Twin:
    """Holds the document in force and the keys that are believed.

    Parameters
    ----------
    device : str
        Who we are.
    trust : Trust
        The fleet, and the configured keys; newer ones that were learnt are in ``state``.
    state : mapping, optional
        What `state` returned before the restart.
    """

    def __init__(self, device: str, trust: Trust, state: Mapping[str, Any] | None = None) -> None:
        self._device = device
        self.trust = trust
        self.document: Document | None = None
        self.refused: Refused | None = None
        self.counters = {"adopted": 0, "refused": 0}
        if state:
            learnt = Trust.of_state(trust.fleet, state["trust"])
            self.trust = learnt if learnt.version > trust.version else trust
            self.document = state["document"]
            if self.document is not None:
                bodies.check(bodies.DESIRED, self.document, "the document in force")
                _check_contents(self.document)

    @property
    def version(self) -> int:
        """The version in force, 0 if there is none."""
        return int(self.document["version"]) if self.document else 0

    def state(self) -> dict[str, Any]:
        """Return what must survive a restart, as JSON."""
        return {"trust": self.trust.state(), "document": self.document}

    def offer(self, payload: bytes, t: float) -> Adopted | Unchanged | Refused:
        """Take a message on the desired topic in; ``t`` is Unix time."""
        try:
            outcome = self._judge(payload, t)
        except PeerError as error:
            outcome = Refused(0, str(error))
        if isinstance(outcome, Refused):
            self.refused = outcome
            self.counters["refused"] += 1
        elif isinstance(outcome, Adopted):
            self.document = outcome.document
            self.refused = None
            self.counters["adopted"] += 1
        return outcome

    def _judge(self, payload: bytes, t: float) -> Adopted | Unchanged | Refused:
        body = messages.decode(payload).body
        trust = self.trust.rotated(body)
        document = trust.opened(body, documents.DESIRED, bodies.DESIRED)
        self.trust = trust  # only now: rotations that come with a forged document are not looked at
        version: int = document["version"]
        if document["device"] != self._device:
            return Refused(version, f"for device {document['device']!r}, expected {self._device!r}")
        if document == self.document:
            return Unchanged()
        if version <= self.version:
            return Refused(version, f"version {version}, expected more than {self.version}")
        latest = self.document["issued"] if self.document else 0.0
        if max(t, latest) > document["expires"]:
            return Refused(version, "expired")
        _check_contents(document)
        return Adopted(document)


def _check_contents(document: Document) -> None:
    cuts = {digest: blocks.of_entry(digest, e) for digest, e in document.get("bundles", {}).items()}
    for name, wanted in document.get("populations", {}).items():
        match wanted:
            case {"bundle": str(digest)}:
                if digest not in cuts:
                    raise PeerError(f"desired: populations.{name}.bundle {digest} is not in bundles")
                if not isinstance(wanted.get("config", {}), dict):
                    raise PeerError(f"desired: populations.{name}.config: expected an object")
            case _:
                raise PeerError(f"desired: populations.{name}: expected {{bundle: digest}}")
