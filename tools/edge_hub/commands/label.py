"""``edge-hub label``: set and remove labels of devices of a running service."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError
from edge_hub import connection


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("label", help="set and remove labels of devices")
    parser.add_argument("label", nargs="*", metavar="KEY=VALUE", help="labels to set; others stay")
    parser.add_argument("--remove", nargs="+", default=[], metavar="KEY", help="labels to remove")
    parser.add_argument("--to", required=True, help="a device, a pattern, a filter, or all")
    parser.add_argument("--fleet", default="+", help="fleet name; default: every fleet")
    connection.add_service_only_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object per device")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Change the labels of each device; exit status 1 if no device fits."""
    from edge_hub.remote import RemoteHub, selected

    connection.check_service(arguments, "it knows the labels")
    new = pairs(arguments.label)
    if not new and not arguments.remove:
        raise ConfigError("label: found none, expected KEY=VALUE or --remove KEY")
    hub = RemoteHub(arguments)
    found = list(hub.devices(selected(arguments.to, arguments.fleet)))
    for device in found:
        fleet, name = device["fleet"], device["name"]
        path = f"/devices/{quote(fleet)}/{quote(name)}"
        kept = {key: text for key, text in hub.get(path)["labels"].items() if key not in arguments.remove}
        labels = hub.put(f"{path}/labels", {"labels": kept | new})["labels"]
        if arguments.json:
            print(json.dumps({"fleet": fleet, "device": name, "labels": labels}))
        else:
            print(f"{fleet}/{name}: {' '.join(f'{key}={text}' for key, text in sorted(labels.items()))}")
    if not found and not arguments.json:
        print("no device fits")
    return EXIT_DONE if found else EXIT_FAILED


def pairs(words: Sequence[str]) -> dict[str, str]:
    """Take ``KEY=VALUE`` words apart.

    Raises
    ------
    ConfigError
        A word has no ``=``, or nothing before or after it.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"label: found {word!r}, expected KEY=VALUE")
        found[key] = value
    return found
