"""``edge-convert verify BUNDLE``: check the digest, golden vectors and signature of a bundle."""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path
from typing import Any

from edge_agent.errors import BundleError
from edge_agent.wire import bundle, signatures
from edge_convert.bundle.payload import run_golden
from edge_convert.console import Subparsers, add_output_options, show


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    command = subparsers.add_parser("verify", help="check every byte, the golden vectors and the signature")
    command.add_argument("bundle", type=Path, help="the .eab file")
    command.add_argument(
        "--key",
        type=Path,
        action="append",
        default=[],
        help="an accepted public key; repeatable",
    )
    add_output_options(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify, and fail where a key was named and did not sign."""
    loaded = bundle.read(arguments.bundle)
    run_golden(loaded)
    result = {
        "bundle": str(arguments.bundle),
        "name": loaded.name,
        "version": loaded.manifest["version"],
        "kind": loaded.kind,
        "digest": loaded.digest,
        "entries": len(loaded.entries),
        "created": _utc(loaded.manifest["created"]),
        "source_sha256": loaded.manifest["source_sha256"],
        "golden": "all outputs as stored",
        "signature": _signature(loaded, arguments.key),
    }
    show(result, arguments.json)
    return 0


def _signature(loaded: bundle.Bundle, paths: list[Path]) -> dict[str, Any]:
    trusted = [signatures.load_public(path) for path in paths]
    signer = loaded.signer
    if signer is None:
        if trusted:
            raise BundleError(f"{loaded.path}: not signed, expected a signature by {trusted[0].name}")
        return {"signed": False}
    names = [key.name for key in trusted if key.raw == signer.raw]
    if trusted and not names:
        found = signer.fingerprint
        raise BundleError(
            f"{loaded.path}: signed by {found}, expected {', '.join(k.fingerprint for k in trusted)}"
        )
    return {
        "signed": True,
        "by": names[0] if names else "(no --key was given)",
        "fingerprint": signer.fingerprint,
    }


def _utc(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()
