"""``edge-convert fit READINGS --template T.toml``: a float model from recorded readings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_agent.errors import EXIT_DONE
from edge_convert.console import Subparsers, add_output_options, show

STARTS = 8


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser("fit", help="fit a float model to recorded readings")
    parser.add_argument(
        "readings", type=Path, metavar="READINGS", help="an npz of edge-agent record, or a CSV file"
    )
    parser.add_argument(
        "--template", type=Path, required=True, metavar="FILE", help="TOML file: factors, sensors, controls"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="model (.npz) to write"
    )
    parser.add_argument(
        "--starts",
        type=_starts,
        default=STARTS,
        metavar="N",
        help=f"first guesses to begin from; the best result is kept (default: {STARTS})",
    )
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fit, write the model and print the report."""
    from edge_convert.fit import fit_job, model_file
    from edge_convert.fit.progress import progress_bar

    with progress_bar(arguments.starts) as told:
        result = fit_job.run(arguments.readings, arguments.template, arguments.starts, told)
    model_file.write(arguments.output, result.arrays)
    for line in result.warnings:
        print(f"edge-convert: {line}", file=sys.stderr)
    show({"output": str(arguments.output)} | result.report, arguments.json)
    return EXIT_DONE


def _starts(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"found {text}, expected 1 to 1000")
    return number
