"""Prints what controllers make of a CO2 sensor that fails.

``python examples/office/fault_report.py office.eab``; ``fault_trial`` says what is tried and how it is rated.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

import readings
from edge_agent import Model
from edge_agent.errors import EXIT_DONE, EdgeAgentError
from fault_trial import CONTROLLERS, Results, Spread, compare
from sensor_faults import FAULTS

IN_THE_DEMO = tuple(name for name in CONTROLLERS if "ppm" not in name)
WIDTH = 118


def medians(results: Results) -> Table:
    """Return a table of the medians, for the demo."""
    title = "A CO2 sensor that fails: occupied time above 1000 ppm, Wh per room and day"
    table = Table("CO2 sensor", *IN_THE_DEMO, title=title, show_lines=True)
    for fault, row in results.items():
        parts = [row[name]["week"] for name in IN_THE_DEMO]
        table.add_row(fault, *(f"{p.above.median:.1%}\n{p.wh_per_day.median:.0f} Wh" for p in parts))
    return table


def spreads(results: Results) -> Table:
    """Return a table of medians and ranges, for the whole week and for the held-out days."""
    table = Table("", "above 1000 ppm", "Wh per day", "held out: above", "Wh per day")
    for fault, row in results.items():
        table.add_section()
        table.add_row(f"[bold]{fault}[/]")
        for name, parts in row.items():
            cells = []
            for part in parts.values():
                cells += [_text(part.above, "{:.1%}"), _text(part.wh_per_day, "{:.0f}")]
            table.add_row(name, *cells)
    return table


def _text(spread: Spread, form: str) -> str:
    median, least, most = map(form.format, (spread.median, spread.least, spread.most))
    return f"{median} ({least} to {most})"


def plain(results: Results) -> dict[str, dict[str, dict[str, object]]]:
    """Return ``results`` in JSON's types."""
    return {
        fault: {name: {when: asdict(part) for when, part in parts.items()} for name, parts in row.items()}
        for fault, row in results.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description="Compare controllers with a CO2 sensor that fails.")
    parser.add_argument("bundle", type=Path, help="the office's bundle, written by edge-convert")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        results = compare(Model.load(options.bundle), readings.load(readings.DATA))
    except EdgeAgentError as error:
        print(f"fault_report.py: {error}", file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps(plain(results)))
        return EXIT_DONE
    console = Console(width=WIDTH)
    console.print(spreads(results))
    for fault, (meaning, _) in FAULTS.items():
        console.print(f"{fault}: {meaning}")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
