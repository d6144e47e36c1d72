"""``edge-convert``: from a trained model to a signed int8 bundle that is proven good, or a refusal.

Exit status: 0 done, 1 failed (the gate refused, a signature is missing), 2 bad input, 3 does not fit
(``edge_agent.errors``). Errors are one line on standard error; with ``--json`` results are one JSON object.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from edge_agent import closed_pipe
from edge_agent.errors import EdgeAgentError
from edge_agent.version import __version__
from edge_convert.commands import convert, evaluate, fit, inspect, keygen, verify


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    root = argparse.ArgumentParser(prog="edge-convert", description=__doc__.splitlines()[0])
    root.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (fit, convert, inspect, verify, evaluate, keygen):
        command.add(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    return closed_pipe.run(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.ERROR)
    try:
        status: int = arguments.run(arguments)
    except EdgeAgentError as error:
        print(f"edge-convert: {error}", file=sys.stderr)
        return error.exit_code
    return status


if __name__ == "__main__":
    sys.exit(main())
