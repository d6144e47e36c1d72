"""The twin: the desired document in force on this device, and the reason for refusing another one.

Theory of operation. A document is accepted if enough trusted keys signed it, it is for this device of this
fleet, its version is higher than the one in force, and it has not expired. Other documents are refused with a
reason in the reported document. The document in force stays, also after its expiry and after reboots. The
version in force is kept, so an old document replayed by a broker, or a retained one that came back from a
backup, is refused for good. Time for expiry never runs behind the youngest document taken over: a board
without a clock that wakes up in 1970 cannot be fed documents that had expired before that one.

The file of the document in force may be damaged. A `Floor`, the highest versions of document and keys that
the device has seen, is stored beside it. Nothing below it is accepted: neither a replayed old document nor
one signed by replaced keys. The document at the floor itself is accepted again.

With separate release keys a document must also ask only for what a release names (`release_check`). The
newest release of each population is kept with the document and in the floor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edge_agent.errors import ConfigError, PeerError
from edge_agent.protocol.release_check import check_released
from edge_agent.wire import blocks, bodies, documents, messages, releases
from edge_agent.wire.documents import MOST_INTEGER, Document, Trust, shortened
from edge_agent.wire.releases import Released
from edge_agent.wire.topics import check_name

TELEMETRY_SECONDS = (0.1, 86_400.0)
"""What the parameter ``telemetry_seconds`` may be."""
PROGRESS_BYTES = 768
"""What a population can take in the reported document: name, bundle, stage and a reason."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The highest version of a desired document and of the set of keys that were ever in force here, and the
    newest release of each population.
    """

    version: int = 0
    trust: int = 0
    releases: Mapping[str, Released] = field(default_factory=dict)

    def raised(self, other: Floor) -> Floor:
        """Return the higher of both in each."""
        newest = releases.newer(self.releases, other.releases)
        return Floor(max(self.version, other.version), max(self.trust, other.trust), newest)

    def state(self) -> dict[str, Any]:
        """Return it as JSON."""
        entry: dict[str, Any] = {"version": self.version, "trust": self.trust}
        if self.releases:
            entry["releases"] = {name: released.state() for name, released in self.releases.items()}
        return entry


NO_FLOOR = Floor()


def floor_of(state: Mapping[str, Any]) -> Floor:
    """Return the floor that a kept state of a hub client makes; parts that say nothing usable count as 0."""
    match state:
        case {"twin": {"trust": {"version": int(trust)}, "document": {"version": int(version)}}}:
            return Floor(_bounded(version), _bounded(trust), _releases(state))
        case {"twin": {"trust": {"version": int(trust)}}}:
            return Floor(0, _bounded(trust), _releases(state))
    return Floor()


def _releases(state: Mapping[str, Any]) -> dict[str, Released]:
    try:
        return releases.of_state(state["twin"].get("releases", {}))
    except (PeerError, AttributeError):
        return {}


def _bounded(version: int) -> int:
    return version if 0 <= version <= MOST_INTEGER else 0


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
    """Holds the document in force and the trusted keys.

    Parameters
    ----------
    device : str
        Who we are.
    trust : Trust
        The fleet, and the configured keys; newer ones that were learnt are in ``state``.
    state : mapping, optional
        What `state` returned before the restart.
    floor : Floor
        What nothing may go below, whatever ``state`` has.

    Raises
    ------
    PeerError
        ``state`` is not what was kept, or was kept by another device.
    """

    def __init__(
        self,
        device: str,
        trust: Trust,
        state: Mapping[str, Any] | None = None,
        floor: Floor = NO_FLOOR,
    ) -> None:
        self._device = device
        self._floor = floor
        self.trust = trust
        self.releases: dict[str, Released] = dict(floor.releases)
        self.document: Document | None = None
        self.refused: Refused | None = None
        self.counters = {"adopted": 0, "refused": 0}
        if state:
            learnt = Trust.of_state(trust.fleet, state["trust"])
            if learnt.version > trust.version:
                # The configuration may separate the roles after rotations that did not.
                self.trust = learnt
                if not learnt.has_release_keys:
                    release, threshold = trust.release_keys, trust.release_threshold
                    self.trust = replace(learnt, release_keys=release, release_threshold=threshold)
            self.releases = releases.newer(floor.releases, releases.of_state(state.get("releases", {})))
            self.document = state["document"]
            if self.document is not None:
                self.trust.check(self.document, "the document in force", bodies.DESIRED)
                if self.document["device"] != device:
                    kept = self.document["device"]
                    raise PeerError(f"the document in force: for device {kept!r}, expected {device!r}")
                _check_contents(self.document)

    @property
    def version(self) -> int:
        """The version in force, 0 if there is none."""
        return int(self.document["version"]) if self.document else 0

    @property
    def believed(self) -> Trust | None:
        """The keys whose commands are accepted; None while only older keys than the newest seen are known."""
        return self.trust if self.trust.version >= self._floor.trust else None

    def state(self) -> dict[str, Any]:
        """Return what must survive a restart, as JSON."""
        state: dict[str, Any] = {"trust": self.trust.state(), "document": self.document}
        if self.releases:
            state["releases"] = {name: released.state() for name, released in self.releases.items()}
        return state

    def reported(self) -> dict[str, Any]:
        """Return its part of the reported document."""
        body: dict[str, Any] = {"version": self.version, "trust": self.trust.version}
        if self.refused is not None:
            body["refused"] = {"version": self.refused.version, "reason": self.refused.reason}
        if self.document is not None:
            body["parameters"] = self.document.get("parameters", {})
        if self.releases:
            body["releases"] = {name: released.number for name, released in self.releases.items()}
        return body

    def signers(self, population: str, bundle: str) -> tuple[bytes, ...] | None:
        """Return the keys of which one must have signed a bundle's file; None if a release names it."""
        if not self.trust.has_release_keys:
            return self.trust.keys
        released = population in self.releases and bundle in self.releases[population].bundles
        return None if released else self.trust.release_keys

    def offer(
        self, payload: bytes, t: float, running: Callable[[str], str] = lambda _population: ""
    ) -> Adopted | Unchanged | Refused:
        """Take a message on the desired topic in; ``t`` is Unix time, ``running`` returns the digest of the
        bundle that a population runs.
        """
        try:
            outcome = self._judge(payload, t, running)
        except PeerError as error:
            outcome = Refused(0, shortened(str(error)))
        if isinstance(outcome, Refused):
            self.refused = outcome
            self.counters["refused"] += 1
        elif isinstance(outcome, Adopted):
            self.document = outcome.document
            self.refused = None
            self.counters["adopted"] += 1
        return outcome

    def _judge(
        self, payload: bytes, t: float, running: Callable[[str], str]
    ) -> Adopted | Unchanged | Refused:
        body = messages.decode(payload).body
        trust = self.trust.rotated(body)
        document = trust.verified(body, documents.DESIRED)
        version = documents.version_of(document)
        if trust.version < self._floor.trust:
            expected = f"rotation {self._floor.trust} or later, the newest that this device has seen"
            return Refused(version, f"signed by keys of rotation {trust.version}, expected {expected}")
        try:
            trust.check(document, documents.DESIRED, bodies.DESIRED)
        except PeerError as error:
            return Refused(version, shortened(str(error)))
        self.trust = trust  # only now: rotations that come with a forged document are not looked at
        if document["device"] != self._device:
            return Refused(
                version, shortened(f"for device {document['device']!r}, expected {self._device!r}")
            )
        if document == self.document:
            return Unchanged()
        if version <= self.version:
            return Refused(version, f"version {document['version']}, expected more than {self.version}")
        if version < self._floor.version:
            expected = f"{self._floor.version} or more, the highest that this device has seen"
            return Refused(version, f"version {version}, expected {expected}")
        latest = self.document["issued"] if self.document else 0.0
        if max(t, latest) > document["expires"]:
            return Refused(version, "expired")
        try:
            _check_contents(document)
            _check_parameters(document.get("parameters", {}))
            _check_size(document)
            if trust.has_release_keys:
                in_force = self.document.get("populations", {}) if self.document else {}
                statements, now = body.get("releases", []), max(t, latest)
                self.releases = check_released(
                    trust, document, statements, self.releases, in_force, running, now
                )
        except PeerError as error:
            return Refused(version, shortened(str(error)))
        return Adopted(document)


def _check_contents(document: Document) -> None:
    cuts = {digest: blocks.of_entry(digest, e) for digest, e in _entries(document, "bundles")}
    for name, wanted in _entries(document, "populations"):
        try:
            check_name(name, "desired: populations")
        except ConfigError as error:
            raise PeerError(str(error)) from error
        match wanted:
            case {"bundle": str(digest)}:
                if digest not in cuts:
                    raise PeerError(f"desired: populations.{name}.bundle {digest} is not in bundles")
                if not isinstance(wanted.get("config", {}), dict):
                    raise PeerError(f"desired: populations.{name}.config: expected an object")
            case _:
                raise PeerError(f"desired: populations.{name}: expected {{bundle: digest}}")


def _entries(document: Document, key: str) -> list[tuple[str, Any]]:
    entries: dict[str, Any] = document.get(key, {})
    return list(entries.items())


def _check_size(document: Document) -> None:
    """Check that what is in force can be reported in one message."""
    kept = document.get("configuration", {})
    body = {"parameters": document.get("parameters", {}), "configuration": kept}
    size = len(messages.encode(messages.Message(body)))
    size += PROGRESS_BYTES * len(document.get("populations", {}))
    if size > messages.MAX_BYTES:
        raise PeerError(f"desired: a report of it takes {size} bytes, expected at most {messages.MAX_BYTES}")


def _check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check the parameters that are known here; others are for other versions."""
    seconds = parameters.get("telemetry_seconds", TELEMETRY_SECONDS[0])
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not TELEMETRY_SECONDS[0] <= seconds <= TELEMETRY_SECONDS[1]:
        low, high = TELEMETRY_SECONDS
        found = ascii(seconds)[:80]
        raise PeerError(f"desired: parameters.telemetry_seconds: found {found}, expected {low:g} to {high:g}")
