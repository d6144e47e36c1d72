"""Rotations of the hub's keys: created offline, stored in the hub's folder, part of every later document.

Theory of operation. A rotation names the new public keys and how many of them must sign; enough of the
previous keys have signed it (``wire.documents``). ``keys/FLEET.json`` lists all rotations of a fleet, oldest
first, so that a device that missed some can apply them in order. The list is public: it contains signatures,
no secrets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire import documents, signatures
from edge_agent.wire.documents import Trust
from edge_agent.wire.signatures import PublicKey, SecretKey
from edge_hub.hub_folder import HubStore

Rotation = dict[str, Any]


def load(store: HubStore, fleet: str) -> list[Rotation]:
    """Return a fleet's rotations, oldest first.

    Raises
    ------
    ConfigError
        The file is not as it was written.
    """
    text = store.keys(fleet)
    try:
        return [
            {
                "doc": rotation["doc"].encode("ascii"),
                "signatures": [
                    {"key": bytes.fromhex(s["key"]), "signature": bytes.fromhex(s["signature"])}
                    for s in rotation["signatures"]
                ],
            }
            for rotation in json.loads(text or "[]")
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"keys/{fleet}.json: not a list of rotations ({error})") from error


def save(store: HubStore, fleet: str, rotations: Sequence[Rotation]) -> None:
    """Keep a fleet's rotations."""
    plain = [
        {
            "doc": rotation["doc"].decode("ascii"),
            "signatures": [
                {"key": s["key"].hex(), "signature": s["signature"].hex()} for s in rotation["signatures"]
            ],
        }
        for rotation in rotations
    ]
    store.save_keys(fleet, json.dumps(plain, indent=1))


def trusted(fleet: str, rotations: Sequence[Rotation]) -> Trust | None:
    """Return whom devices believe once they know all rotations; None before the first one.

    Only the last rotation counts here: that each was signed by enough of the keys before it was checked
    when it was made, and is checked by every device.
    """
    if not rotations:
        return None
    document = json.loads(rotations[-1]["doc"])
    keys = tuple(bytes.fromhex(key) for key in document["keys"])
    return Trust(fleet, keys, document["threshold"], document["version"])


def makers(fleet: str, rotations: Sequence[Rotation], signers: Sequence[SecretKey]) -> list[Trust]:
    """Return whose desired documents this hub goes on from: those believed now, and those just before them.

    How many keys a device's configuration asks for is not known here: before the first rotation one will do.
    """
    if not rotations:
        return [Trust(fleet, tuple(key.public.raw for key in signers))]
    first = Trust(fleet, tuple(s["key"] for s in rotations[0]["signatures"]))
    return [t for t in (trusted(fleet, rotations), trusted(fleet, rotations[:-1]) or first) if t]


def rotate(
    fleet: str,
    rotations: Sequence[Rotation],
    signers: Sequence[SecretKey],
    keys: Sequence[PublicKey],
    threshold: int,
) -> Rotation:
    """Return the rotation to ``keys``, signed by ``signers``, the keys before it.

    Raises
    ------
    ConfigError
        Too few of the signers are believed, or ``threshold`` is not possible with so many keys.
    """
    raw = tuple(dict.fromkeys(key.raw for key in keys))
    if not 1 <= threshold <= len(raw) or len(raw) > documents.MAX_KEYS:
        raise ConfigError(f"--threshold: found {threshold} of {len(raw)} keys, expected 1 to their number")
    if len(rotations) >= documents.MAX_ROTATIONS:
        raise ConfigError(f"keys: {len(rotations)} rotations, devices follow {documents.MAX_ROTATIONS}")
    before = trusted(fleet, rotations) or Trust(fleet, tuple(key.public.raw for key in signers))
    document = {
        "fleet": fleet,
        "version": before.version + 1,
        "keys": [key.hex() for key in raw],
        "threshold": threshold,
    }
    rotation = documents.signed(document, documents.KEYS, signers)
    try:
        before.rotated({"doc": b"{}", "signatures": [], "rotations": [rotation]})
    except PeerError as error:
        raise ConfigError(f"--sign: {error}") from error
    return rotation


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
