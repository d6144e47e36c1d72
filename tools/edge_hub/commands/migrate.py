"""``edge-hub migrate --data …``: bring a database's schema to this version of the program.

The service does this by itself for a file; for PostgreSQL it is done once a version, before its workers
start. A file that ``edge-hub ingest FILE`` wrote is taken over with all it holds.
"""

from __future__ import annotations

import argparse
from typing import Any

from edge_agent.errors import EXIT_DONE


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("migrate", help="bring a database's schema to this version")
    parser.add_argument("--data", required=True, help="a SQLite file, or postgresql://USER@HOST/NAME")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Migrate."""
    from edge_hub.database.engine import Database
    from edge_hub.database.migrate import migrate

    with Database(arguments.data) as database:
        before, after = migrate(database)
        done = f"schema {after}" if before == after else f"schema {before or 'missing'} → {after}"
        print(f"{database.name}: {done}")
    return EXIT_DONE
