"""``edge-hub watch``: show the fleet, updated live.

Prints a table twice per second, or with ``--json`` one line for every message that changed a device: the
record of its row in the table.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any

from rich.console import Console
from rich.live import Live

from edge_hub import connection
from edge_hub.fleet import Fleet
from edge_hub.tables import fleet_table


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("watch", help="show the fleet, updated live")
    connection.add_arguments(parser)
    parser.add_argument(
        "--for", dest="seconds", type=float, default=math.inf, help="stop after this number of seconds"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per message")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Watch until the time is over or somebody interrupts."""
    fleet = Fleet()
    end = time.monotonic() + arguments.seconds
    with connection.Connection(arguments, (f"edge/v1/{arguments.fleet}/+/up/#",)) as link:
        if arguments.json:
            _lines(link, fleet, end)
            fleet.rejected.tell()
            return 0
        console = Console()
        table = fleet_table(fleet, time.time(), console.width)
        with Live(table, console=console, refresh_per_second=2) as live:
            while (left := end - time.monotonic()) > 0:
                for message in link.messages(min(left, 0.5)):
                    fleet.take(message.topic, message.payload, time.time())
                live.update(fleet_table(fleet, time.time(), console.width))
    return 0


def _lines(link: connection.Connection, fleet: Fleet, end: float) -> None:
    while (left := end - time.monotonic()) > 0:
        for message in link.messages(min(left, 0.5)):
            device = fleet.take(message.topic, message.payload, time.time())
            if device is not None:
                print(json.dumps(device.row()), flush=True)
