"""``edge-hub update``: updates the daemon itself.

``pack`` puts Debian packages of edge-agent (``make deb``) into a bundle. ``deploy`` rolls it out in waves, as
``edge-hub deploy`` does with a model: it is the bundle of the population ``edge-agent``. Between the two,
``edge-hub sign --population edge-agent`` makes the release, with the release keys: a device installs nothing
else, and goes back to an older version only if a newer release names it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

from edge_agent.errors import EXIT_DONE, ConfigError
from edge_agent.wire import bundle, package
from edge_hub.commands import deploy

_NAME = re.compile(r"(edge-agent[a-z0-9-]*)_([0-9A-Za-z.+~-]+)_([a-z0-9]+)\.deb")


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parsers."""
    parser = subparsers.add_parser("update", help="update the daemon of devices")
    parser.set_defaults(run=_pack)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    packing = actions.add_parser("pack", help="make a bundle of Debian packages")
    packing.add_argument(
        "package",
        type=Path,
        nargs="+",
        help="edge-agent_VERSION_ARCHITECTURE.deb, and those of the neural runtimes that devices have",
    )
    packing.add_argument(
        "-o", "--out", type=Path, metavar="EAB", help="default: the package's name with .eab"
    )
    packing.add_argument("--json", action="store_true", help="print JSON")
    packing.set_defaults(run=_pack)
    deploying = actions.add_parser("deploy", help="roll out a bundle of packages in waves")
    deploy.add_rollout_arguments(deploying)
    deploying.set_defaults(run=_deploy, population=package.POPULATION, new=None)


def _pack(arguments: argparse.Namespace) -> int:
    entries: dict[str, bytes] = {}
    kinds: set[tuple[str, str]] = set()
    for path in arguments.package:
        named = _NAME.fullmatch(path.name)
        if named is None:
            raise ConfigError(f"{path}: found another name, expected edge-agent..._VERSION_ARCHITECTURE.deb")
        try:
            entries[named[1] + package.SUFFIX] = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        kinds.add((named[2], named[3]))
    main = package.POPULATION + package.SUFFIX
    if main not in entries:
        raise ConfigError(f"package: found {', '.join(sorted(entries))}, expected {main} among them")
    if len(kinds) != 1:
        found = ", ".join(" ".join(kind) for kind in sorted(kinds))
        raise ConfigError(f"package: found {found}, expected one version and architecture")
    ((version, architecture),) = kinds
    source = hashlib.sha256(entries[main]).hexdigest()
    out = arguments.out or Path(f"{package.POPULATION}_{version}_{architecture}.eab")
    manifest = package.manifest(version, architecture, source, int(time.time()))
    try:
        digest = bundle.write(out, manifest, entries)
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror}") from error
    if arguments.json:
        print(
            json.dumps({"file": str(out), "bundle": digest, "version": version, "architecture": architecture})
        )
    else:
        print(f"{out}: {version} for {architecture}, bundle {digest}")
        print(f"next: edge-hub sign {out} --population {package.POPULATION} --fleet FLEET --sign RELEASE-KEY")
    return EXIT_DONE


def _deploy(arguments: argparse.Namespace) -> int:
    package.packages(bundle.read(arguments.bundle))
    return deploy.run(arguments)
