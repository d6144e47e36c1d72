"""``edge-hub export``: what the hub has stored of chosen devices, as the file of readings, and as CSV.

It reads the database (``--data``), or asks a service (``--hub URL --token-file FILE``): the file is the same.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import EXIT_DONE, ConfigError
from edge_hub import connection
from edge_hub.remote import RemoteHub, selected

if TYPE_CHECKING:
    from edge_agent.wire.readings import Readings

END = 1e12
"""Unix seconds after everything."""


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("export", help="write what the hub has stored as a file of readings")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="file of readings (.npz) to write"
    )
    parser.add_argument("--csv", action="store_true", help="write FILE.csv beside it, for a spreadsheet")
    parser.add_argument("--data", help="the hub's database: a SQLite file, or postgresql://USER@HOST/NAME")
    connection.add_service_arguments(parser)
    parser.add_argument("--ca", type=Path, help="with --hub: CA certificate")
    parser.add_argument("--fleet", default="+", help="fleet name; default: every fleet")
    parser.add_argument(
        "--to", default="all", metavar="DEVICES", help="all, a name, a pattern or a filter; default: all"
    )
    parser.add_argument(
        "--since", type=_time, default=0.0, metavar="TIME", help="from this time on: ISO 8601 or Unix seconds"
    )
    parser.add_argument("--until", type=_time, default=END, metavar="TIME", help="until before this time")
    parser.add_argument(
        "--resolution",
        choices=("raw", "minute", "hour"),
        default="raw",
        help="messages, or the last value of each minute or hour; default: raw",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the file, and say what is in it."""
    from edge_agent.wire import readings, readings_csv

    output: Path = arguments.output
    if output.suffix != ".npz":
        raise ConfigError(f"-o {output}: found the suffix {output.suffix!r}, expected .npz")
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"-o {output}: found no folder {output.absolute().parent}, expected it to exist")
    if (arguments.data is None) == (arguments.hub is None):
        raise ConfigError("export: expected either --data or --hub")
    found = _found(arguments)
    readings.write(output, found)
    if arguments.csv:
        readings_csv.write(output.with_suffix(".csv"), found)
    counts = {"devices": len(found.agents), "series": len(found.modalities), "values": len(found.time)}
    said = f"{output}: " + ", ".join(f"{count} {what}" for what, count in counts.items())
    print(json.dumps({"file": str(output)} | counts) if arguments.json else said)
    return EXIT_DONE


def _found(arguments: argparse.Namespace) -> Readings:
    from edge_hub import export

    text = selected(arguments.to, arguments.fleet)
    span = (arguments.since, arguments.until, arguments.resolution)
    if arguments.hub:
        return export.readings(export.from_service(RemoteHub(arguments), text, *span))
    from edge_hub.database.engine import Database

    if "://" not in arguments.data and not Path(arguments.data).exists():
        raise ConfigError(f"--data {arguments.data}: No such file")
    with Database(arguments.data) as database:
        database.check()
        return export.readings(export.from_database(database, text, time.time(), *span))


def _time(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"found {text!r}, expected ISO 8601 or Unix seconds") from error
        value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not (math.isfinite(value) and abs(value) <= END):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a time")
    return value
