"""How commands print: a table for people, one JSON object for machines."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from edge_agent.adapters.journal import JournalHandler, under_journald


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` and ``-v``, which every command has."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="log more; twice for debug messages"
    )


def set_up_logging(verbose: int) -> None:
    """Log warnings, with ``-v`` information, with ``-vv`` everything; to the journal or standard error."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    if under_journald():
        logging.basicConfig(level=level, format="%(message)s", handlers=[JournalHandler()])
    else:
        logging.basicConfig(level=level, format="%(levelname)s %(message)s", stream=sys.stderr)


def set_log_level(level: str) -> None:
    """Log what ``device.log_level`` says from now on, or everything if ``-vv`` was given."""
    everything = logging.getLogger().level == logging.DEBUG
    logging.getLogger("edge_agent").setLevel("DEBUG" if everything else level.upper())


def print_json(value: Any) -> None:
    """Print ``value`` as one line of JSON."""
    print(json.dumps(value))


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under a header; columns that hold numbers are flush right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(title), *(len(row[n]) for row in cells)]) for n, title in enumerate(header)]
    right = [all(isinstance(row[n], int | float) for row in rows) for n in range(len(header))]
    for line in [list(header), *cells]:
        print(
            "  ".join(
                cell.rjust(width) if flush else cell.ljust(width)
                for cell, width, flush in zip(line, widths, right, strict=True)
            ).rstrip()
        )


def size_text(nbytes: float) -> str:
    """Return bytes for people: ``12.3 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if abs(nbytes) < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} GiB"
