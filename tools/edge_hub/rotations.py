"""Rotations of the hub's keys: created offline, stored in the hub's folder, part of every later document.

Theory of operation. A rotation names the new public keys and how many of them must sign; enough of the
previous keys have signed it (``wire.documents``). ``keys/FLEET.json`` lists all rotations of a fleet, oldest
first, so that a device that missed some can apply them in order. The list is public: it contains signatures,
no secrets. A rotation that names release keys separates the roles of director and release; from then on the
release keys sign rotations.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire import documents, signatures
from edge_agent.wire.documents import Trust
from edge_agent.wire.signatures import PublicKey, SecretKey
from edge_hub import signed_json
from edge_hub.hub_folder import HubStore

Rotation = signed_json.Signed


BEFORE = "before"
"""Key of the first rotation that devices ignore: the director's keys before it, if others signed it."""


def load(store: HubStore, fleet: str) -> list[Rotation]:
    """Return a fleet's rotations, oldest first.

    Raises
    ------
    ConfigError
        The file is not as it was written.
    """
    name = f"keys/{fleet}.json"
    try:
        entries = json.loads(store.keys(fleet) or "[]")
    except ValueError as error:
        raise ConfigError(f"{name}: not a list of rotations ({error})") from error
    if not isinstance(entries, list):
        raise ConfigError(f"{name}: found {type(entries).__name__}, expected a list of rotations")
    return [signed_json.of_plain(entry, name) for entry in entries]


def save(store: HubStore, fleet: str, rotations: Sequence[Rotation]) -> None:
    """Keep a fleet's rotations."""
    store.save_keys(fleet, json.dumps([signed_json.to_plain(item) for item in rotations], indent=1))


def trusted(fleet: str, rotations: Sequence[Rotation]) -> Trust | None:
    """Return whom devices believe once they know all rotations; None before the first one.

    That each rotation was signed by enough of the keys before it was checked when it was made, and is
    checked by every device. Release keys stay until a rotation names others.
    """
    if not rotations:
        return None
    release: tuple[bytes, ...] = ()
    release_threshold = 1
    for rotation in rotations:
        document = json.loads(rotation["doc"])
        if "release_keys" in document:
            release = tuple(bytes.fromhex(key) for key in document["release_keys"])
            release_threshold = document.get("release_threshold", 1)
    keys = tuple(bytes.fromhex(key) for key in document["keys"])
    return Trust(fleet, keys, document["threshold"], document["version"], release, release_threshold)


def makers(fleet: str, rotations: Sequence[Rotation], signers: Sequence[SecretKey]) -> list[Trust]:
    """Return whose desired documents this hub goes on from: those believed now, and the last others before
    them. A rotation of the release keys alone changes neither.

    How many keys a device's configuration asks for is not known here: before the first rotation one will do.
    """
    if not rotations:
        return [Trust(fleet, tuple(key.public.raw for key in signers))]
    before = json.loads(rotations[0]["doc"]).get(BEFORE, [])
    first = Trust(
        fleet,
        tuple(bytes.fromhex(key) for key in before) or tuple(s["key"] for s in rotations[0]["signatures"]),
    )
    story = [first, *(trusted(fleet, rotations[: n + 1]) or first for n in range(len(rotations)))]
    now = story[-1]
    return [now, next((trust for trust in reversed(story) if trust.keys != now.keys), first)]


def rotate(
    fleet: str,
    rotations: Sequence[Rotation],
    signers: Sequence[SecretKey],
    keys: Sequence[PublicKey],
    threshold: int,
    release: Sequence[PublicKey] = (),
    release_threshold: int = 1,
    old: Sequence[PublicKey] = (),
) -> Rotation:
    """Return the rotation to ``keys``, signed by ``signers``, the keys before it.

    With ``release`` the roles are separate from then on, or the release keys are others. ``old`` are the
    director's keys before the first rotation, where ``signers`` are release keys of the configuration.

    Raises
    ------
    ConfigError
        Too few of the signers are believed, a threshold is not possible with so many keys, or a key would
        have both roles.
    """
    raw = _distinct(keys, "--threshold", threshold)
    raw_release = _distinct(release, "--release-threshold", release_threshold) if release else ()
    if len(rotations) >= documents.MAX_ROTATIONS:
        raise ConfigError(f"keys: {len(rotations)} rotations, devices follow {documents.MAX_ROTATIONS}")
    before = trusted(fleet, rotations) or Trust(fleet, tuple(key.public.raw for key in signers))
    document = {
        "fleet": fleet,
        "version": before.version + 1,
        "keys": [key.hex() for key in raw],
        "threshold": threshold,
    }
    if raw_release:
        document |= {"release_keys": [k.hex() for k in raw_release], "release_threshold": release_threshold}
    if old and not rotations:
        document[BEFORE] = [key.raw.hex() for key in old]
    rotation = documents.signed(document, documents.KEYS, signers)
    try:
        before.rotated({"doc": b"{}", "signatures": [], "rotations": [rotation]})
    except PeerError as error:
        raise ConfigError(f"--sign: {error}") from error
    return rotation


def _distinct(keys: Sequence[PublicKey], option: str, threshold: int) -> tuple[bytes, ...]:
    raw = tuple(dict.fromkeys(key.raw for key in keys))
    if not 1 <= threshold <= len(raw) or len(raw) > documents.MAX_KEYS:
        raise ConfigError(f"{option}: found {threshold} of {len(raw)} keys, expected 1 to their number")
    return raw


def signers(paths: Sequence[Path], fleet: str, rotations: Sequence[Rotation]) -> list[SecretKey]:
    """Return the secret keys of ``paths``, checked to be enough of those that devices believe.

    Raises
    ------
    ConfigError
        There is none, or a rotation took their place.
    """
    keys = [signatures.load_secret(path) for path in paths]
    if not keys:
        raise ConfigError("--sign: found no key, expected the secret key that the devices believe")
    trust = trusted(fleet, rotations)
    if trust is not None:
        believed = {key.public.raw for key in keys} & set(trust.keys)
        if len(believed) < trust.threshold:
            raise ConfigError(
                f"--sign: found {len(believed)} of the keys of rotation {trust.version} of fleet {fleet!r} "
                f"(keys/{fleet}.json in the hub's folder), expected {trust.threshold}"
            )
    return keys
