"""``edge-hub retire POPULATION``: remove populations that the hub had added.

Populations in a device's own configuration are not removed. Exit status 0 only if the population was removed
from all devices.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from edge_agent.errors import EXIT_DONE, EXIT_FAILED
from edge_hub import document_change
from edge_hub.commands.deploy import add_runner_arguments, check_fleet


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("retire", help="remove a population that the hub had added")
    parser.add_argument("population")
    document_change.add_arguments(parser)
    add_runner_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Tell the devices and wait."""
    check_fleet(arguments)
    name = arguments.population

    def changes(document: Mapping[str, Any]) -> dict[str, Any]:
        wanted = document.get("populations", {})
        return {"populations": {key: value for key, value in wanted.items() if key != name}}

    def gone(report: Mapping[str, Any]) -> bool:
        return name not in report.get("populations", {})

    reports = document_change.send(arguments, changes, gone)
    for device, report in sorted(reports.items()):
        verdict = "gone" if gone(report) else "still there"
        shown = {"device": device, "population": name, "ok": gone(report)}
        print(json.dumps(shown) if arguments.json else f"{device}: {name} {verdict}")
    return EXIT_DONE if all(map(gone, reports.values())) else EXIT_FAILED
