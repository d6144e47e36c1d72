"""``edge-agent history AGENT``: shows an agent's recent observations and actions as a table, CSV or JSON."""

from __future__ import annotations

import argparse
import csv
import sys
from datetime import UTC, datetime
from typing import Any

from edge_agent.adapters.control import ask
from edge_agent.commands.output import add_output_options, print_json, print_table
from edge_agent.commands.status import add_socket_option


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("history", help="show an agent's recent observations and actions")
    parser.add_argument("agent", metavar="AGENT", help="name or number of the agent")
    parser.add_argument("--population", metavar="NAME", help="only this population")
    parser.add_argument(
        "--last", type=int, metavar="N", help="number of steps (default: all that are stored)"
    )
    parser.add_argument("--csv", action="store_true", help="print comma-separated values")
    add_socket_option(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line per step, oldest first."""
    question = {"ask": "history", "agent": arguments.agent, "population": arguments.population}
    found = ask(arguments.socket, question | {"last": arguments.last})
    if arguments.json:
        print_json(found)
        return 0
    header = ["tick", "time", *found["modalities"], *found["controls"], "free energy"]
    rows = [
        [tick, datetime.fromtimestamp(time, UTC).isoformat(" ", "milliseconds"), *observed, *acted, energy]
        for tick, time, observed, acted, energy in zip(
            *(found[key] for key in ("tick", "time", "observation", "action", "free_energy")), strict=True
        )
    ]
    if arguments.csv:
        csv.writer(sys.stdout).writerows([header, *rows])
    else:
        print_table(header, rows)
    return 0
