"""``edge-hub keys show|rotate|send``: the public keys that devices accept, and their rotation.

``rotate`` needs no broker: it signs the new public keys with the old secret keys and stores the rotation in
the hub's folder. Every later document of this hub contains it. ``send`` signs each device's desired document
with the new keys and waits until the devices report that they have accepted them. New bundles must then be
signed with a new key.

``rotate --new-release`` separates the roles: ``--new`` are then the director's keys, which sign documents and
commands and may lie on the hub, and the release keys sign releases (``edge-hub sign``) and later rotations. A
later rotation changes one role: ``--new`` the director's, ``--new-release`` the release keys.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError
from edge_agent.wire import signatures
from edge_agent.wire.signatures import PublicKey
from edge_hub import document_change, rotations
from edge_hub.commands.deploy import add_runner_arguments, check_fleet
from edge_hub.hub_folder import HubStore


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("keys", help="show, rotate or send the hub's keys")
    parser.add_argument("action", choices=("show", "rotate", "send"))
    parser.add_argument(
        "--new",
        type=Path,
        action="append",
        default=[],
        metavar="PUB",
        help="rotate: a new public key; repeatable",
    )
    parser.add_argument(
        "--threshold", type=int, default=1, help="rotate: number of keys that must sign; default: 1"
    )
    parser.add_argument(
        "--new-release",
        type=Path,
        action="append",
        default=[],
        metavar="PUB",
        help="rotate: a new public release key; repeatable",
    )
    parser.add_argument(
        "--release-threshold",
        type=int,
        default=1,
        help="rotate: number of release keys that must sign; default: 1",
    )
    parser.add_argument(
        "--old",
        type=Path,
        action="append",
        default=[],
        metavar="PUB",
        help="rotate: a director's public key until now, if the first rotation is signed by release keys",
    )
    document_change.add_arguments(parser)
    add_runner_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show, rotate or send."""
    check_fleet(arguments)
    store = HubStore(arguments.state)
    known = rotations.load(store, arguments.fleet)
    if arguments.action == "show":
        _show(arguments, known)
        return EXIT_DONE
    if arguments.action == "send":
        return _send(arguments, known)
    signers = [signatures.load_secret(path) for path in arguments.sign]
    if not signers:
        raise ConfigError("--sign: found no key, expected the secret keys that the devices believe now")
    new: list[PublicKey] = [signatures.load_public(path) for path in arguments.new]
    release = [signatures.load_public(path) for path in arguments.new_release]
    old = [signatures.load_public(path) for path in arguments.old]
    threshold, trust = arguments.threshold, rotations.trusted(arguments.fleet, known)
    if not new and release and trust is not None and trust.has_release_keys:
        new, threshold = [PublicKey(raw, "") for raw in trust.keys], trust.threshold  # the director stays
    if not new:
        raise ConfigError("--new: found no key, expected the public key that is to be believed")
    rotation = rotations.rotate(
        arguments.fleet, known, signers, new, threshold, release, arguments.release_threshold, old
    )
    known = [*known, rotation]
    rotations.save(store, arguments.fleet, known)
    _show(arguments, known)
    return EXIT_DONE


def _show(arguments: argparse.Namespace, known: list[rotations.Rotation]) -> None:
    trust = rotations.trusted(arguments.fleet, known)
    found = {
        "fleet": arguments.fleet,
        "version": trust.version if trust else 0,
        "threshold": trust.threshold if trust else None,
        "keys": _fingerprints(trust.keys) if trust else None,
    }
    if trust and trust.has_release_keys:
        found |= {
            "release_keys": _fingerprints(trust.release_keys),
            "release_threshold": trust.release_threshold,
        }
    if arguments.json:
        print(json.dumps(found))
    elif trust is None:
        print(f"{arguments.fleet}: never rotated; devices believe the keys of their configuration")
    else:
        keys = f"{trust.threshold} of {', '.join(_fingerprints(trust.keys))}"
        if trust.has_release_keys:
            release = f"{trust.release_threshold} of {', '.join(_fingerprints(trust.release_keys))}"
            keys = f"director {keys}; release {release}"
        print(f"{arguments.fleet}: rotation {trust.version}: {keys}")


def _fingerprints(keys: Sequence[bytes]) -> list[str]:
    return [PublicKey(raw, "").fingerprint for raw in keys]


def _send(arguments: argparse.Namespace, known: list[rotations.Rotation]) -> int:
    trust = rotations.trusted(arguments.fleet, known)
    if trust is None:
        raise ConfigError(f"keys send: the keys of fleet {arguments.fleet!r} were never rotated here")
    version = trust.version

    def believed(report: Mapping[str, Any]) -> int:
        return int(report.get("trust", 0))

    reports = document_change.send(arguments, lambda _: {}, lambda report: believed(report) >= version)
    for name, report in sorted(reports.items()):
        row = {"device": name, "trust": believed(report), "ok": believed(report) >= version}
        print(json.dumps(row) if arguments.json else f"{name}: believes rotation {row['trust']}")
    return EXIT_DONE if all(believed(r) >= version for r in reports.values()) else EXIT_FAILED
