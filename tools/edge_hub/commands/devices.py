"""``edge-hub devices``: who is there, from what the broker retains; ends by itself."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from rich.console import Console

from edge_hub import connection
from edge_hub.fleet import Fleet
from edge_hub.tables import fleet_table


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("devices", help="who is there")
    connection.add_arguments(parser)
    connection.add_service_arguments(parser)
    parser.add_argument("--wait", type=float, default=1.0, help="seconds of silence that end it; default: 1")
    parser.add_argument("--json", action="store_true", help="one JSON object a line and device")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the devices."""
    if arguments.hub:
        from edge_hub import remote_commands

        return remote_commands.devices(arguments)
    fleet = collect(arguments)
    if arguments.json:
        for name in sorted(fleet.devices):
            print(json.dumps(fleet.devices[name].row()))
    else:
        console = Console()
        console.print(fleet_table(fleet, time.time(), console.width))
    return 0


def collect(arguments: argparse.Namespace) -> Fleet:
    """Return the fleet as its retained messages tell."""
    fleet = Fleet()
    filters = tuple(f"edge/v1/{arguments.fleet}/+/up/{channel}" for channel in ("birth", "reported"))
    with connection.Connection(arguments, filters) as link:
        while batch := list(link.messages(arguments.wait)):
            for message in batch:
                fleet.take(message.topic, message.payload, time.time())
    return fleet
