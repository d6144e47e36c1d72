"""``edge-agent agents``: shows the last observations and actions of each agent of the running daemon."""

from __future__ import annotations

import argparse
from typing import Any

from edge_agent.adapters.control import ask
from edge_agent.commands.output import add_output_options, print_json, print_table
from edge_agent.commands.status import add_socket_option


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("agents", help="list the running daemon's agents")
    parser.add_argument("--population", metavar="NAME", help="only this population")
    add_socket_option(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line per agent."""
    found = ask(arguments.socket, {"ask": "agents", "population": arguments.population})
    if arguments.json:
        print_json(found)
        return 0
    print_table(
        ["population", "agent", "observes", "acts", "free energy"],
        [
            [a["population"], a["agent"], ", ".join(a["observes"]), ", ".join(a["acts"]), a["free_energy"]]
            for a in found["agents"]
        ],
    )
    return 0
