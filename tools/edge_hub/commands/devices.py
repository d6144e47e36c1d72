"""``edge-hub devices``: list the devices from the broker's retained messages, and exit.

The list is compared with the devices that this hub has heard before (in its folder, and with ``--archive`` in
the database of ``edge-hub ingest``). Exit status 1 if one of them is missing, or if messages were dropped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError
from edge_hub import absent, connection
from edge_hub.archive import Archive
from edge_hub.fleet import Fleet
from edge_hub.hub_folder import HubStore, default_folder
from edge_hub.tables import drawn, fleet_table


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("devices", help="list the devices")
    connection.add_arguments(parser)
    connection.add_service_arguments(parser)
    parser.add_argument(
        "--wait", type=float, default=1.0, help="stop after this many seconds without a message; default: 1"
    )
    parser.add_argument(
        "--state", type=Path, default=default_folder(), help="the hub's folder; default: %(default)s"
    )
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="DATABASE",
        help="also expect the devices in this database of edge-hub ingest",
    )
    parser.add_argument(
        "--forget", metavar="PATTERN", help="remove these devices from the list of expected devices, and exit"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per device")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the devices."""
    if arguments.hub:
        from edge_hub import remote_commands

        return remote_commands.devices(arguments)
    store = HubStore(arguments.state)
    if arguments.forget:
        print(
            f"{absent.forget(store, arguments.broker, arguments.fleet, arguments.forget)} devices forgotten"
        )
        return EXIT_DONE
    others = _archived(arguments.archive)
    fleet = collect(arguments)
    missing = absent.find(store, arguments.broker, arguments.fleet, fleet, others)
    if arguments.json:
        for name in sorted(fleet.devices):
            print(json.dumps(fleet.devices[name].row()))
    else:
        print(drawn(fleet_table(fleet, time.time(), Console().width)), end="")
    absent.warn(missing)
    if fleet.dropped:
        print(f"edge-hub: {fleet.dropped} messages dropped: too many at once", file=sys.stderr)
    if arguments.json:
        fleet.rejected.warn()
    return EXIT_FAILED if missing or fleet.dropped else EXIT_DONE


def _archived(path: Path | None) -> list[tuple[str, str]]:
    if path is None:
        return []
    if not path.exists():
        raise ConfigError(f"{path}: No such file")
    archive = Archive(path)
    try:
        return archive.devices()
    finally:
        archive.close()


def collect(arguments: argparse.Namespace) -> Fleet:
    """Return the fleet as its retained messages tell."""
    fleet = Fleet()
    filters = tuple(f"edge/v1/{arguments.fleet}/+/up/{channel}" for channel in ("birth", "reported"))
    with connection.Connection(arguments, filters, quiet=arguments.wait) as link:
        while not link.settled:
            link.insist()
            for message in link.messages(min(arguments.wait, 0.2)):
                fleet.handle(message.topic, message.payload, time.time())
        fleet.dropped = link.dropped
    return fleet
