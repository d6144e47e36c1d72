"""``edge-hub enrol``: print a one-time code for one board, and the command to type there."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from edge_agent.errors import EXIT_DONE
from edge_hub import connection


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("enrol", help="make a one-time code that lets a board join a fleet")
    parser.add_argument("--fleet", default="home", help="default: home")
    parser.add_argument("--device", default="", help="the code is for this name alone, even if it is known")
    parser.add_argument("--hours", type=float, default=1.0, help="how long the code is valid; default: 1")
    connection.add_service_only_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask the service for a code."""
    from edge_hub.remote import RemoteHub

    connection.check_service(arguments, "it knows the codes")
    wanted = {"fleet": arguments.fleet, "device": arguments.device, "hours": arguments.hours}
    made = RemoteHub(arguments).post("/enrolments", wanted)
    if arguments.json:
        print(json.dumps(made))
    else:
        minutes = (made["expires"] - time.time()) / 60
        print(f"edge-agent enrol {arguments.hub} {made['code']}")
        print(f"(on the board, as root; once, within {minutes:.0f} minutes)")
    return EXIT_DONE
