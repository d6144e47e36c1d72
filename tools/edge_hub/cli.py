"""``edge-hub``: the commands for a fleet. Builds the parser and turns errors into exit codes.

Exit status: 0 done, 1 failed, 2 bad input (``edge_agent.errors``).
"""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
from collections.abc import Sequence

from edge_agent import closed_pipe
from edge_agent.errors import EdgeAgentError
from edge_agent.version import __version__

COMMANDS: tuple[str, ...] = (
    "watch",
    "devices",
    "deploy",
    "configure",
    "update",
    "rollout",
    "command",
    "ingest",
    "keys",
    "retire",
    "sign",
    "migrate",
    "serve",
    "export",
    "learn",
    "alerts",
    "enrol",
    "label",
    "group",
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    root = argparse.ArgumentParser(prog="edge-hub", description="Show, command and update a fleet.")
    root.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"edge_hub.commands.{name}").add(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    return closed_pipe.run(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    arguments = parser().parse_args(argv)
    # SIGTERM ends a command as Ctrl-C does: a live table gives the terminal back, a deployment saves itself.
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.basicConfig(level=logging.DEBUG if getattr(arguments, "verbose", False) else logging.WARNING)
    try:
        status: int = arguments.run(arguments)
    except EdgeAgentError as error:
        print(f"edge-hub: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)
    return status


if __name__ == "__main__":
    sys.exit(main())
