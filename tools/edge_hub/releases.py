"""Releases: made and signed on a person's machine, stored by the hub, sent with desired documents.

Theory of operation. A release says which bundle a population of a fleet may run (`edge_agent.wire.releases`).
Its number is the Unix time in milliseconds, so it increases without anybody counting. ``releases/FLEET.json``
in the hub's folder, or the service's database, has all releases of a fleet. With each desired document goes,
for each population, the newest release that names its bundle; a device decides whether that is the newest it
has seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire import bodies, documents
from edge_agent.wire.body_checks import check_plain
from edge_agent.wire.documents import Document, Trust
from edge_agent.wire.signatures import SecretKey
from edge_hub import rotations, signed_json
from edge_hub.hub_folder import HubStore
from edge_hub.signed_json import Signed


def make(document: Document, keys: Sequence[SecretKey]) -> Signed:
    """Return a release, signed.

    Raises
    ------
    ConfigError
        A device could not take it.
    """
    try:
        check_plain(document, "release")
        bodies.check(bodies.RELEASE, document, "release")
    except PeerError as error:
        raise ConfigError(str(error)) from error
    return documents.signed(document, documents.RELEASE, keys)


def read(path: Path) -> Signed:
    """Return the release in a file.

    Raises
    ------
    ConfigError
        It is missing or no release.
    """
    try:
        signed = signed_json.of_plain(json.loads(path.read_text("utf-8")), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, not JSON
        raise ConfigError(f"{path}: not a release: {error}") from error
    document_of(signed, str(path))
    return signed


def document_of(signed: Mapping[str, Any], what: str) -> Document:
    """Return what a release says; who signed it is not checked.

    Raises
    ------
    ConfigError
        It is no release.
    """
    try:
        document = json.loads(signed["doc"])
        if not isinstance(document, dict):
            raise PeerError("expected an object")
        check_plain(document, "release")
        bodies.check(bodies.RELEASE, document, "release")
    except (PeerError, ValueError, RecursionError) as error:
        raise ConfigError(f"{what}: not a release: {error}") from error
    return document


def load(store: HubStore, fleet: str) -> list[Signed]:
    """Return the releases that were kept of a fleet.

    Raises
    ------
    ConfigError
        The file is not as it was written.
    """
    name = f"releases/{fleet}.json"
    try:
        entries = json.loads(store.releases(fleet) or "[]")
    except ValueError as error:
        raise ConfigError(f"{name}: not a list of releases ({error})") from error
    if not isinstance(entries, list):
        raise ConfigError(f"{name}: found {type(entries).__name__}, expected a list of releases")
    return [signed_json.of_plain(entry, name) for entry in entries]


def keep(store: HubStore, fleet: str, signed: Signed) -> None:
    """Store a release; one with the same document is replaced, since it may have more signatures now."""
    others = [known for known in load(store, fleet) if known["doc"] != signed["doc"]]
    store.save_releases(
        fleet, json.dumps([signed_json.to_plain(item) for item in (*others, signed)], indent=1)
    )


def chosen(known: Iterable[Signed], populations: Mapping[str, Any], device: str) -> list[Signed]:
    """Return what goes with a document: of each population the newest release that names its bundle."""
    found: dict[str, tuple[int, Signed]] = {}
    for signed in known:
        document = document_of(signed, "release")
        name = document["population"]
        names = (document["bundle"], *document.get("allows", ()))
        meant = device in document.get("devices", (device,))
        if not meant or name not in populations or populations[name].get("bundle") not in names:
            continue
        if name not in found or document["number"] > found[name][0]:
            found[name] = (document["number"], signed)
    return [signed for _, signed in found.values()]


def names_bundle(
    known: Iterable[Signed], population: str, bundle: str, config: Mapping[str, Any], least: int = 0
) -> bool:
    """Whether a release from number ``least`` on lets a population run a bundle, and be made of a
    configuration ({}: none).
    """
    for signed in known:
        document = document_of(signed, "release")
        if document["population"] != population or document["number"] < least:
            continue
        same = not config or document.get("config") == config
        if same and bundle in (document["bundle"], *document.get("allows", ())):
            return True
    return False


def trust_of(
    fleet: str, known: Sequence[rotations.Rotation], keys: Sequence[bytes], threshold: int
) -> Trust | None:
    """Return whose releases devices of a fleet believe, None if their keys have both roles.

    ``keys`` are the release keys that this hub was told of; those of a rotation count more.
    """
    rotated = rotations.trusted(fleet, known)
    if rotated is not None and rotated.has_release_keys:
        return rotated
    return Trust(fleet, tuple(keys), threshold, 0, tuple(keys), threshold) if keys else None


def check(trust: Trust, signed: Signed) -> Document:
    """Return what a release says, checked to be signed by enough of the release keys.

    Raises
    ------
    ConfigError
        It is not.
    """
    try:
        return trust.opened(signed, documents.RELEASE, bodies.RELEASE)
    except PeerError as error:
        raise ConfigError(str(error)) from error
