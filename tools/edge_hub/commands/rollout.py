"""``edge-hub rollout status|pause|resume|abort``: show or control a rollout.

The command is passed to the process that runs the rollout. If that process has ended, ``resume`` and
``abort`` run the rollout themselves. ``resume`` also continues a finished rollout for the devices that were
parked.
"""

from __future__ import annotations

import argparse
from typing import Any

from edge_agent.errors import EXIT_DONE, ConfigError
from edge_hub import connection
from edge_hub.commands import deploy
from edge_hub.hub_folder import HubStore


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("rollout", help="show or control a rollout")
    parser.add_argument("action", choices=("status", "pause", "resume", "abort"), help="the action")
    parser.add_argument("id", nargs="?", default="latest", help="the rollout's id")
    deploy.add_runner_arguments(parser)
    connection.add_service_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show or steer."""
    if arguments.hub:
        from edge_hub import remote_commands

        return remote_commands.rollout(arguments)
    store = HubStore(arguments.state)
    rollout = store.load(arguments.id)
    if arguments.action == "status":
        if not arguments.json:
            deploy.show(rollout, False)
        deploy.show_devices(rollout, arguments.json)
        return EXIT_DONE
    with store.running(rollout.id) as ours:
        if not ours:
            store.request(rollout.id, arguments.action)
            return EXIT_DONE
    if arguments.action == "pause":
        raise ConfigError(f"rollout {rollout.id}: nobody runs it; it is as good as paused")
    deploy.check_fleet(arguments)
    if arguments.action == "resume":
        rollout.resume()
    else:
        rollout.abort()
    return deploy.work(arguments, rollout, store)
