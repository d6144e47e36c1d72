"""``edge-convert``: from a trained model to a signed int8 bundle that is proven good, or a refusal.

Exit status: 0 done, 1 failed (the gate refused, a signature is missing), 2 bad input, 3 does not fit
(``edge_agent.errors``). Errors are one line on standard error; with ``--json`` results are one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from edge_agent import closed_pipe
from edge_agent.errors import EdgeAgentError
from edge_agent.version import __version__

COMMANDS: tuple[str, ...] = ("fit", "convert", "inspect", "verify", "evaluate", "keygen")


def parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser for ``commands``."""
    root = argparse.ArgumentParser(prog="edge-convert", description=__doc__.splitlines()[0])
    root.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in commands:
        importlib.import_module(f"edge_convert.commands.{name}").add(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    return closed_pipe.run(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    # The libraries that one command imports take up to a second to load; the others do without them.
    chosen = [name for name in COMMANDS if words and words[0] == name] or COMMANDS
    arguments = parser(chosen).parse_args(words)
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.ERROR)
    try:
        status: int = arguments.run(arguments)
    except EdgeAgentError as error:
        print(f"edge-convert: {error}", file=sys.stderr)
        return error.exit_code
    return status


if __name__ == "__main__":
    sys.exit(main())
