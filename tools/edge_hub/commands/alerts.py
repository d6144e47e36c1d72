"""``edge-hub alerts``: what the service's alerts are, and their rules.

Without an action the open alerts are listed; the exit status is 1 if there are any.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError
from edge_hub import connection
from edge_hub.rejected import printable

ACTIONS = ("list", "show", "acknowledge", "rules", "set-rule", "remove-rule")
WIDTH = 500


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("alerts", help="alerts of a running service, and their rules")
    parser.add_argument(
        "action", nargs="?", default="list", choices=ACTIONS, help="default: list, the open alerts"
    )
    parser.add_argument("name", nargs="?", default="", help="the alert's id, or the rule's name")
    parser.add_argument("--all", action="store_true", help="list alerts that have cleared, too")
    parser.add_argument("--file", type=Path, help="set-rule: a JSON file with the rule")
    connection.add_service_only_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask the service."""
    from edge_hub.remote import RemoteHub

    connection.check_service(arguments, "alerts are the service's")
    if arguments.action in ("show", "acknowledge", "set-rule", "remove-rule") and not arguments.name:
        raise ConfigError(f"alerts {arguments.action}: expected the alert's id or the rule's name after it")
    hub, name = RemoteHub(arguments), quote(arguments.name, safe="")
    match arguments.action:
        case "list":
            return _list(hub.get("/alerts", status="" if arguments.all else "open", limit=500), arguments)
        case "show":
            _show(hub.get(f"/alerts/{name}"), arguments)
        case "acknowledge":
            _show(hub.post(f"/alerts/{name}/acknowledge", {}), arguments)
        case "rules":
            for rule in hub.get("/alerts/rules"):
                _print_rule(rule, arguments)
        case "set-rule":
            _print_rule(hub.put(f"/alerts/rules/{name}", _rule(arguments.file)), arguments)
        case _:
            hub.delete(f"/alerts/rules/{name}")
    return EXIT_DONE


def _list(found: list[dict[str, Any]], arguments: argparse.Namespace) -> int:
    now = time.time()
    for row in found:
        if arguments.json:
            print(json.dumps(row))
            continue
        known = f", known to {row['acknowledged_by']}" if row["acknowledged"] else ""
        number = row["devices"] or row["most"]
        print(
            f"{row['id']} {row['severity']}: {row['rule']}, {printable(row['group_name'], WIDTH)}, "
            f"{number} devices, {row['status']}, began {now - row['opened']:.0f} s ago{known}"
        )
    if not found and not arguments.json:
        print("no alerts" if arguments.all else "no open alerts")
    return EXIT_FAILED if any(row["status"] == "open" for row in found) else EXIT_DONE


def _show(found: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{found['id']} {found['severity']}: {found['rule']}, {found['status']}: {found['condition']}")
    for member in found["members"]:
        name = printable(f"{member['fleet']}/{member['device']}", WIDTH)
        print(f"  {name}: {member['state']}, {member['value']:.6g}")
    for sent in found["deliveries"]:
        again = ", repeated" if sent["repeated"] else ""
        print(f"  notice {sent['notice']} ({sent['kind']}) to {sent['target']}: {sent['state']}{again}")


def _print_rule(rule: dict[str, Any], arguments: argparse.Namespace) -> None:
    off = "" if rule["enabled"] else ", off"
    line = f"{rule['name']}: {rule['condition']}, {rule['severity']}, by {rule['group']}{off}"
    print(json.dumps(rule) if arguments.json else printable(line, WIDTH))


def _rule(file: Path | None) -> Any:
    """Return the rule in a file.

    Raises
    ------
    ConfigError
        There is none, or it is not JSON.
    """
    if file is None:
        raise ConfigError("--file: found none, expected a JSON file with the rule")
    try:
        return json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON: {error}") from error
