"""``edge-hub watch``: show the fleet, updated live.

On a terminal the table is updated twice per second. Into a pipe or file it is printed again after each
change, at most twice per second. ``--json`` prints one line for every message that changed a device: the
record of its row in the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import time
from typing import Any

from rich.console import Console
from rich.live import Live

from edge_agent.errors import EXIT_DONE
from edge_hub import connection
from edge_hub.fleet import Fleet
from edge_hub.tables import fleet_table

INTERVAL_S = 0.5


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
            fleet.rejected.warn()
        else:
            _tables(link, fleet, end)
    return EXIT_DONE


def _tables(link: connection.Connection, fleet: Fleet, end: float) -> None:
    console = Console()
    # No refresh by a thread: a closed pipe must end the command, not the thread.
    live = Live(console=console, auto_refresh=False)
    with live if console.is_terminal else contextlib.nullcontext():
        while (now := time.monotonic()) < end:
            changed = _receive(link, fleet, min(end, now + INTERVAL_S))
            table = fleet_table(fleet, time.time(), console.width)
            if console.is_terminal:
                live.update(table, refresh=True)
            elif changed:
                console.print(table)


def _receive(link: connection.Connection, fleet: Fleet, until: float) -> bool:
    """Process messages until a time of the monotonic clock; return whether a device changed."""
    changed = False
    while (left := until - time.monotonic()) > 0:
        for message in link.messages(left):
            if fleet.handle(message.topic, message.payload, time.time()) is not None:
                changed = True
    return changed


def _lines(link: connection.Connection, fleet: Fleet, end: float) -> None:
    while (left := end - time.monotonic()) > 0:
        for message in link.messages(min(left, 0.5)):
            device = fleet.handle(message.topic, message.payload, time.time())
            if device is not None:
                print(json.dumps(device.row()), flush=True)
