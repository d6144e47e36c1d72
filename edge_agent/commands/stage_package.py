"""``edge-agent stage-package``: checks an update that the hub asked for and puts its packages into the
installer's directory.

``edge-agent-update.service`` runs it as root, before the packages are installed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from edge_agent.commands.output import add_output_options, print_json
from edge_agent.commands.provision import CONFIG

FOLDER = Path("/var/lib/edge-agent-update")


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "stage-package", help="check an update of the daemon and prepare its installation (as root)"
    )
    parser.add_argument(
        "bundle", metavar="DIGEST", help="the package bundle, in the daemon's state directory"
    )
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help="the device.toml")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, metavar="DIR", help="the installer's directory"
    )
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check and stage."""
    from edge_agent.adapters.config_files import Reading
    from edge_agent.config.records import build
    from edge_agent.services import package_check

    config = build(Reading(arguments.config).result()["config"])
    installed = package_check.read_installed(arguments.folder)
    version = package_check.stage(config, arguments.folder, arguments.bundle, time.time(), installed)
    if arguments.json:
        print_json({"bundle": arguments.bundle, "version": version})
    else:
        print(f"edge-agent {version} is ready to be installed")
    return 0
