"""``edge-hub group``: the groups of a running service, which are filters under names."""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import quote

from edge_agent.errors import EXIT_DONE, ConfigError
from edge_hub import connection


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("group", help="groups of devices: filters under names")
    parser.add_argument(
        "action", nargs="?", default="list", choices=("list", "set", "remove"), help="default: list"
    )
    parser.add_argument("name", nargs="?", default="", help="the group's name")
    parser.add_argument("--filter", help="set: who is in the group, now and later")
    parser.add_argument("--note", default="", help="set: what it is for")
    connection.add_service_only_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object per group")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask the service."""
    from edge_hub.remote import RemoteHub

    connection.check_service(arguments, "it knows the groups")
    if arguments.action != "list" and not arguments.name:
        raise ConfigError(f"group {arguments.action}: expected the group's name after it")
    if arguments.action == "set" and not arguments.filter:
        raise ConfigError("--filter: found none, expected who is in the group, such as label.floor=2")
    hub, path = RemoteHub(arguments), f"/groups/{quote(arguments.name, safe='')}"
    match arguments.action:
        case "list":
            for row in hub.get("/groups"):
                _print(row, arguments)
        case "set":
            _print(hub.put(path, {"filter": arguments.filter, "note": arguments.note}), arguments)
        case _:
            hub.delete(path)
    return EXIT_DONE


def _print(row: dict[str, Any], arguments: argparse.Namespace) -> None:
    note = f"  ({row['note']})" if row["note"] else ""
    print(json.dumps(row) if arguments.json else f"{row['name']}: {row['filter']}{note}")
