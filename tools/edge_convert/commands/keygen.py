"""``edge-convert keygen PATH --name NAME``: create a key pair; only its owner can read the secret key."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_agent.wire import signatures
from edge_agent.wire.topics import check_name
from edge_convert.console import Subparsers, add_output_options, show


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    command = subparsers.add_parser("keygen", help="make an Ed25519 key pair")
    command.add_argument(
        "path", type=Path, help="file for the secret key (mode 0600); the public key is written to PATH.pub"
    )
    command.add_argument("--name", default="", help="name of the signer; default: the file's name")
    add_output_options(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the keys and say where they are."""
    path: Path = arguments.path
    secret = signatures.generate(check_name(arguments.name or path.stem, "--name"))
    public_path = signatures.save(secret, path)
    result = {
        "secret_key": str(path),
        "public_key": str(public_path),
        "name": secret.name,
        "fingerprint": secret.public.fingerprint,
    }
    show(result, arguments.json)
    return 0
