"""Signed documents: the hub's keys sign everything that a device carries out, so brokers need not be trusted.

Theory of operation. A document is canonical JSON; each signature is Ed25519 over ``PURPOSE NUL
document``, so that a command can't be passed off as a desired state. `Trust` is who is believed: keys,
how many of them must have signed, and a version. A rotation is a document of purpose ``keys`` signed by
the keys it takes the place of; a message carries all rotations, oldest first, so that a device that slept
through some can follow them. Trust only moves forward, and is kept by the device.

Keys have one role or two. With *release* keys, these alone sign releases (`wire.releases`) and rotations, and
the other keys, the *director's*, sign desired documents and commands. Without them the keys have both roles.
A rotation that names release keys separates the roles; none joins them again.

What is in a document must be reportable: a device says in ``up/reported`` what is in force, so what msgpack
cannot carry (`body_checks.check_plain`) is refused before anything is kept. Otherwise a device would fail at
each start to say what it keeps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire import bodies
from edge_agent.wire.body_checks import check_plain
from edge_agent.wire.bundle import canonical_json
from edge_agent.wire.fields import integer
from edge_agent.wire.signatures import PUBLIC_KEY_BYTES, PublicKey, SecretKey

DESIRED = "edge-agent desired 1"
COMMAND = "edge-agent command 1"
KEYS = "edge-agent keys 1"
RELEASE = "edge-agent release 1"
BY_RELEASE_KEYS = frozenset({KEYS, RELEASE})
"""Purposes that the director's keys do not sign."""

MAX_KEYS = 16
MAX_ROTATIONS = 64
MAX_COMMAND_AHEAD = 86_400.0
"""The most a command may be valid, seconds: devices remember ids for that long."""

MAX_REASON = 400
"""Characters of a reason that are reported."""
MOST_INTEGER = 2**63 - 1

Document = dict[str, Any]


def shortened(reason: str) -> str:
    """Return a reason that fits into a report."""
    return reason if len(reason) <= MAX_REASON else f"{reason[: MAX_REASON - 3]}..."


def signed(
    document: Mapping[str, Any],
    purpose: str,
    keys: Sequence[SecretKey],
    rotations: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the body (`bodies.SIGNED`) that carries ``document``, signed by every one of ``keys``."""
    text = canonical_json(document)
    body: dict[str, Any] = {
        "doc": text,
        "signatures": [{"key": k.public.raw, "signature": k.sign(_message(purpose, text))} for k in keys],
    }
    if rotations:
        body["rotations"] = [dict(rotation) for rotation in rotations]
    return body


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys whose documents a device of a fleet accepts.

    ``keys`` are raw public keys; ``threshold`` of them must have signed; ``version`` counts rotations.
    ``release_keys`` and ``release_threshold`` are those of the release role; without release keys, ``keys``
    have both roles.
    """

    fleet: str
    keys: tuple[bytes, ...]
    threshold: int = 1
    version: int = 0
    release_keys: tuple[bytes, ...] = ()
    release_threshold: int = 1

    def __post_init__(self) -> None:
        _check_threshold(self.keys, self.threshold)
        if self.release_keys:
            _check_threshold(self.release_keys, self.release_threshold)

    @property
    def has_release_keys(self) -> bool:
        """Whether the roles are separate."""
        return bool(self.release_keys)

    def opened(self, body: Mapping[str, Any], purpose: str, schema: bodies.Schema) -> Document:
        """Return the document in ``body`` once enough keys are found to have signed it.

        Raises
        ------
        PeerError
            Forged, too few signatures, malformed, or for another fleet.
        """
        document = self.verified(body, purpose)
        self.check(document, purpose, schema)
        return document

    def verified(self, body: Mapping[str, Any], purpose: str) -> Document:
        """Return what enough keys have signed, an object whose content is still to be checked (`check`).

        Raises
        ------
        PeerError
            Forged, too few signatures, or no JSON object.
        """
        text = self._verified(body, purpose)
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PeerError(f"{purpose}: the document is not JSON") from error
        if not isinstance(document, dict):
            raise PeerError(f"{purpose}: the document is {type(document).__name__}, expected an object")
        return document

    def check(self, document: Document, purpose: str, schema: bodies.Schema) -> None:
        """Check that a document has the keys of ``schema``, values to report, and is for this fleet.

        Raises
        ------
        PeerError
            It is malformed, or for another fleet.
        """
        check_plain(document, purpose)
        bodies.check(schema, document, purpose)
        if document["fleet"] != self.fleet:
            raise PeerError(f"{purpose}: for fleet {document['fleet']!r}, expected {self.fleet!r}")

    def rotated(self, body: Mapping[str, Any]) -> Trust:
        """Return the trust after the rotations in ``body`` that are newer than this one.

        Raises
        ------
        PeerError
            A newer rotation is not signed by the keys before it, or names no usable keys.
        """
        bodies.check(bodies.SIGNED, body, "signed document")
        trust = self
        for rotation in body.get("rotations", ())[:MAX_ROTATIONS]:
            if _version(rotation) <= trust.version:
                continue
            trust = trust._after(trust.opened(rotation, KEYS, bodies.KEYS))
        return trust

    def _after(self, document: Document) -> Trust:
        """Return the trust that a rotation leads to; release keys that it does not name stay."""
        keys = _keys(document, "keys")
        threshold = _threshold(document["threshold"], keys)
        release, release_threshold = self.release_keys, self.release_threshold
        if "release_keys" in document:
            release = _keys(document, "release_keys")
            release_threshold = _threshold(document.get("release_threshold", 1), release)
        if set(keys) & set(release):
            raise PeerError("rotations: a key is among keys and release_keys, expected one role for each")
        return Trust(self.fleet, keys, threshold, document["version"], release, release_threshold)

    def state(self) -> dict[str, Any]:
        """Return what a device keeps, as JSON."""
        state = {
            "keys": [key.hex() for key in self.keys],
            "threshold": self.threshold,
            "version": self.version,
        }
        if self.release_keys:
            state["release_keys"] = [key.hex() for key in self.release_keys]
            state["release_threshold"] = self.release_threshold
        return state

    @classmethod
    def of_state(cls, fleet: str, state: Mapping[str, Any]) -> Trust:
        """Return the trust that `state` was made of.

        Raises
        ------
        PeerError
            A number is none.
        """
        keys = tuple(bytes.fromhex(k) for k in state["keys"])
        threshold = integer(state, "threshold", 1, MAX_KEYS)
        version = integer(state, "version", 0, MOST_INTEGER)
        release = tuple(bytes.fromhex(k) for k in state.get("release_keys", ()))
        return cls(
            fleet, keys, threshold, version, release, integer(state, "release_threshold", 1, MAX_KEYS, 1)
        )

    def _verified(self, body: Mapping[str, Any], purpose: str) -> bytes:
        bodies.check(bodies.SIGNED, body, purpose)
        text: bytes = body["doc"]
        message = _message(purpose, text)
        keys, threshold, role = self.keys, self.threshold, ""
        if self.release_keys:
            role = "director "
            if purpose in BY_RELEASE_KEYS:
                keys, threshold, role = self.release_keys, self.release_threshold, "release "
        signers: set[bytes] = set()
        for item in body["signatures"][:MAX_KEYS]:
            key = item["key"]
            if key in keys and PublicKey(key, "").verifies(message, item["signature"]):
                signers.add(key)
        if len(signers) < threshold:
            found = f"{len(signers)} of the {threshold} signatures needed"
            raise PeerError(f"{purpose}: {found} are by {role}keys that are believed")
        return text


def _check_threshold(keys: tuple[bytes, ...], threshold: int) -> None:
    if not 1 <= threshold <= len(set(keys)):
        found = f"{threshold} of {len(set(keys))}"
        raise ConfigError(f"hub keys: threshold is {found} keys, expected 1 to the number of keys")


def _message(purpose: str, text: bytes) -> bytes:
    return purpose.encode("ascii") + b"\0" + text


def _version(rotation: Mapping[str, Any]) -> int:
    """Return the version a rotation claims; nothing is believed yet."""
    try:
        version = json.loads(rotation["doc"])["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PeerError("rotations: the document is not JSON with a version") from error
    if not isinstance(version, int):
        raise PeerError(f"rotations: version is {type(version).__name__}, expected int")
    return version


def version_of(document: Mapping[str, Any]) -> int:
    """Return the version of a document that was not checked, 0 if it is none that can be reported."""
    match document.get("version"):
        case bool():
            return 0
        case int(version) if 0 <= version <= MOST_INTEGER:
            return version
    return 0


def _keys(document: Document, role: str) -> tuple[bytes, ...]:
    keys: list[bytes] = []
    for text in document[role][:MAX_KEYS]:
        try:
            raw = bytes.fromhex(text)
        except ValueError as error:
            raise PeerError("rotations: a key is not hex") from error
        if len(raw) != PUBLIC_KEY_BYTES:
            raise PeerError(f"rotations: a key has {len(raw)} bytes, expected {PUBLIC_KEY_BYTES}")
        keys.append(raw)
    return tuple(keys)


def _threshold(threshold: int, keys: tuple[bytes, ...]) -> int:
    if not 1 <= threshold <= len(set(keys)):
        raise PeerError(f"rotations: threshold {threshold} of {len(set(keys))} keys")
    return threshold
