"""``edge-agent``: the daemon, and commands that query it or run without it.

Exit status: 0 success, 1 failure, 2 invalid input, 3 memory budget exceeded (``edge_agent.errors``).
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from edge_agent import closed_pipe
from edge_agent.adapters.lazy_imports import daemon_libraries
from edge_agent.errors import EdgeAgentError
from edge_agent.version import __version__

COMMANDS: tuple[str, ...] = (
    "run",
    "check",
    "status",
    "agents",
    "history",
    "infer",
    "replay",
    "bench",
    "doctor",
    "support_bundle",
    "metrics",
    "provision",
    "stage_package",
    "enrol",
    "init",
    "record",
)

DESCRIPTION = """Run the edge-agent daemon, query it, or run bundles without it. Exit status: 0 success,
1 failure, 2 invalid input, 3 memory budget exceeded."""


def parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser for ``commands``."""
    root = argparse.ArgumentParser(prog="edge-agent", description=DESCRIPTION)
    root.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in commands:
        importlib.import_module(f"edge_agent.commands.{name}").add(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    return closed_pipe.run(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    # The daemon's memory is no place for the modules of the other commands.
    chosen = [name for name in COMMANDS if words and words[0].replace("-", "_") == name] or COMMANDS
    with daemon_libraries():
        arguments = parser(chosen).parse_args(words)
    try:
        status: int = arguments.run(arguments)
    except EdgeAgentError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return error.exit_code
    return status
