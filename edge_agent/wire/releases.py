"""Releases: signed statements of which bundle a population may run, made where the release keys are.

Theory of operation. A release names a population of a fleet, the digest of its bundle, the configuration of a
new population, and a number that increases (milliseconds of Unix time when `edge-hub sign` makes it). It may
also name older bundles that the hub may go back to, the devices it is for, and when it expires. What a device
keeps of the newest release of a population is a `Released`: the number, the digests that may run, and the
digest of the configuration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.wire import bodies, documents, fields
from edge_agent.wire.bundle import canonical_json
from edge_agent.wire.documents import Document, Trust

MAX_RELEASES = 1024
"""Releases in one message that are looked at."""
MAX_ALLOWS = 32
DIGEST = 64
"""Characters of a digest in hex."""


@dataclass(frozen=True, slots=True)
class Released:
    """What the newest release of a population says; ``bundles`` begins with the one that was released."""

    number: int
    bundles: tuple[str, ...]
    config: str = ""
    """SHA-256 of the configuration's canonical JSON in hex, "" without one."""

    def state(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"number": self.number, "bundles": list(self.bundles), "config": self.config}


def config_digest(config: Mapping[str, Any] | None) -> str:
    """Return what `Released.config` is for a configuration."""
    return "" if config is None else hashlib.sha256(canonical_json(config)).hexdigest()


def of_document(document: Document) -> Released:
    """Return what a device keeps of a release.

    Raises
    ------
    PeerError
        A digest has another length.
    """
    bundles = (document["bundle"], *document.get("allows", ()))
    for digest in bundles:
        fields.check_text("release: bundle", digest, DIGEST)
    return Released(document["number"], bundles, config_digest(document.get("config")))


def of_state(state: Mapping[str, Any]) -> dict[str, Released]:
    """Return what was kept of each population's newest release.

    Raises
    ------
    PeerError
        It is something else.
    """
    found: dict[str, Released] = {}
    for name, entry in state.items():
        match entry:
            case {"number": int(number), "bundles": [*bundles], "config": str(config)} if (
                1 <= number <= bodies.MAX_VERSION and all(isinstance(digest, str) for digest in bundles)
            ):
                found[name] = Released(number, tuple(bundles), config)
            case _:
                raise PeerError(f"releases: {name!r} is not {{number, bundles, config}}")
    return found


def newer(one: Mapping[str, Released], other: Mapping[str, Released]) -> dict[str, Released]:
    """Return the newest release of each population of both."""
    found = dict(one)
    for name, released in other.items():
        if name not in found or released.number > found[name].number:
            found[name] = released
    return found


def opened(trust: Trust, statement: Mapping[str, Any], device: str, t: float) -> Document:
    """Return the release in a signed statement, if ``device`` may believe it at Unix time ``t``.

    Raises
    ------
    PeerError
        Not signed by the release keys, malformed, for another fleet or other devices, or expired.
    """
    document = trust.opened(statement, documents.RELEASE, bodies.RELEASE)
    devices = document.get("devices")
    if devices is not None and device not in devices:
        raise PeerError(f"release {document['number']}: not for device {device!r}")
    expires = document.get("expires", 0.0)
    if expires and t > expires:
        raise PeerError(f"release {document['number']}: expired")
    return document
