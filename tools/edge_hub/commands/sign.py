"""``edge-hub sign``: make a release, on the machine where the release keys are.

A release says that a population of a fleet may run a bundle, and with ``--new`` of what configuration it is
made. Devices with release keys run nothing else. It is written to a file, for ``edge-hub deploy --release``,
and with ``--hub URL`` given to the service. The bundle and the configuration are read here: what the hub says
is not signed. Without a bundle, ``--hub URL`` lists the rollouts that wait for a release.

``edge-hub sign FILE.release`` adds a signature to a release, where more than one key must sign.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from edge_agent.atomic_file import replaced
from edge_agent.errors import EXIT_DONE, ConfigError, PlatformError
from edge_agent.wire import bundle, documents, signatures, topics
from edge_agent.wire import releases as wire_releases
from edge_agent.wire.documents import Document
from edge_hub import connection, releases, signed_json
from edge_hub.commands.deploy import population_config
from edge_hub.signed_json import Signed

SUFFIX = ".release"
DAY_S = 86_400.0


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("sign", help="release a bundle with the release keys")
    parser.add_argument("file", type=Path, nargs="?", help="the .eab file, or a .release to sign as well")
    parser.add_argument("--fleet", default="", help="the fleet's name")
    parser.add_argument("--population", default="", help="the population that may run the bundle")
    parser.add_argument(
        "--sign", type=Path, action="append", default=[], metavar="KEY", help="secret release key; repeatable"
    )
    parser.add_argument("--new", type=Path, metavar="TOML", help="configuration of a new population")
    parser.add_argument(
        "--allow",
        type=Path,
        action="append",
        default=[],
        metavar="EAB",
        help="an older bundle that the hub may go back to; repeatable",
    )
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="NAME",
        help="a device that it is for; repeatable; default: the fleet",
    )
    parser.add_argument(
        "--days", type=float, default=0.0, help="devices that have not seen it until then refuse it; 0: never"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: the bundle's name with .release")
    parser.add_argument("--ca", type=Path, help="with --hub: the CA certificate of the service")
    parser.add_argument("--json", action="store_true", help="print JSON")
    connection.add_service_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Sign and write, or list what waits."""
    if arguments.file is None:
        return _list(arguments)
    keys = [signatures.load_secret(path) for path in arguments.sign]
    if not keys:
        raise ConfigError("--sign: found no key, expected a secret release key")
    if arguments.file.suffix == SUFFIX:
        signed, out = releases.read(arguments.file), arguments.out or arguments.file
        document = releases.document_of(signed, str(arguments.file))
        more = documents.signed(document, documents.RELEASE, keys)["signatures"]
        kept = [item for item in signed["signatures"] if item["key"] not in {new["key"] for new in more}]
        signed["signatures"] = [*kept, *more]
    else:
        document = _document(arguments)
        signed = releases.make(document, keys)
        out = arguments.out or arguments.file.with_suffix(SUFFIX)
    _write(out, signed)
    if arguments.hub:
        from edge_hub.remote import RemoteHub

        RemoteHub(arguments).post("/releases", signed_json.to_plain(signed))
    _show(arguments, document, len(signed["signatures"]), out)
    return EXIT_DONE


def _document(arguments: argparse.Namespace) -> Document:
    fleet = topics.check_name(arguments.fleet, "--fleet")
    population = topics.check_name(arguments.population, "--population")
    devices = [topics.check_name(name, "--device") for name in arguments.device]
    if arguments.days < 0:
        raise ConfigError(f"--days: found {arguments.days:g}, expected 0 or more")
    if len(arguments.allow) > wire_releases.MAX_ALLOWS:
        raise ConfigError(
            f"--allow: found {len(arguments.allow)} bundles, expected at most {wire_releases.MAX_ALLOWS}"
        )
    now = time.time()
    document: Document = {
        "fleet": fleet,
        "population": population,
        "bundle": bundle.read(arguments.file).digest,
        "number": int(now * 1000),
        "issued": now,
    }
    if arguments.allow:
        document["allows"] = [bundle.read(path).digest for path in arguments.allow]
    if devices:
        document["devices"] = devices
    if arguments.days:
        document["expires"] = now + arguments.days * DAY_S
    if arguments.new:
        document["config"] = population_config(arguments.new, population)
    return document


def _write(path: Path, signed: Signed) -> None:
    try:
        with replaced(path, 0o644) as file:
            file.write(json.dumps(signed_json.to_plain(signed), indent=1).encode())
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror}") from error


def _show(arguments: argparse.Namespace, document: Document, signers: int, out: Path) -> None:
    if arguments.json:
        print(json.dumps({"file": str(out), "signatures": signers, "release": document}))
        return
    where = f"{document['fleet']}: population {document['population']}"
    print(f"{where} may run bundle {document['bundle'][:12]}; release {document['number']}, {out}")


def _list(arguments: argparse.Namespace) -> int:
    if not arguments.hub:
        raise ConfigError("file: found none, expected a bundle, or --hub to list what waits for a release")
    from edge_hub.remote import RemoteHub

    for row in RemoteHub(arguments).get("/releases/wanted"):
        line = (
            f"{row['rollout']}: {row['fleet']}, population {row['population']}, bundle {row['bundle'][:12]}"
        )
        print(json.dumps(row) if arguments.json else f"{line} ({row['name']}), {row['devices']} devices")
    return EXIT_DONE
