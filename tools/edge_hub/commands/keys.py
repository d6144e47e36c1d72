"""``edge-hub keys show|rotate|send``: the public keys that devices accept, and their rotation.

``rotate`` needs no broker: it signs the new public keys with the old secret keys and stores the rotation in
the hub's folder. Every later document of this hub contains it. ``send`` signs each device's desired document
with the new keys and waits until the devices report that they have accepted them. New bundles must then be
signed with a new key.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
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
    if not new:
        raise ConfigError("--new: found no key, expected the public key that is to be believed")
    known = [*known, rotations.rotate(arguments.fleet, known, signers, new, arguments.threshold)]
    rotations.save(store, arguments.fleet, known)
    _show(arguments, known)
    return EXIT_DONE


def _show(arguments: argparse.Namespace, known: list[rotations.Rotation]) -> None:
    trust = rotations.trusted(arguments.fleet, known)
    found = {
        "fleet": arguments.fleet,
        "version": trust.version if trust else 0,
        "threshold": trust.threshold if trust else None,
        "keys": [PublicKey(raw, "").fingerprint for raw in trust.keys] if trust else None,
    }
    if arguments.json:
        print(json.dumps(found))
    elif trust is None:
        print(f"{arguments.fleet}: never rotated; devices believe the keys of their configuration")
    else:
        keys = ", ".join(PublicKey(raw, "").fingerprint for raw in trust.keys)
        print(f"{arguments.fleet}: rotation {trust.version}: {trust.threshold} of {keys}")


def _send(arguments: argparse.Namespace, known: list[rotations.Rotation]) -> int:
    trust = rotations.trusted(arguments.fleet, known)
    if trust is None:
        raise ConfigError(f"keys send: the keys of fleet {arguments.fleet!r} were never rotated here")
    version = trust.version

    def believed(report: Mapping[str, Any]) -> int:
        return int(report.get("trust", 0))

    reports = document_change.tell(arguments, lambda _: {}, lambda report: believed(report) >= version)
    for name, report in sorted(reports.items()):
        row = {"device": name, "trust": believed(report), "ok": believed(report) >= version}
        print(json.dumps(row) if arguments.json else f"{name}: believes rotation {row['trust']}")
    return EXIT_DONE if all(believed(r) >= version for r in reports.values()) else EXIT_FAILED
