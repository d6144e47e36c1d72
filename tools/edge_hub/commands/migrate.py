"""``edge-hub migrate --data …``: bring a database's schema to this version of the program.

The service does this by itself for a file; for PostgreSQL it is done once a version, before its workers
start. A file that ``edge-hub ingest FILE`` wrote is taken over with all it holds. ``--from FILE`` copies a
hub's SQLite file into the empty PostgreSQL database: all of it, or nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import EXIT_DONE, ConfigError

if TYPE_CHECKING:
    from edge_hub.database.engine import Database


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("migrate", help="bring a database's schema to this version")
    parser.add_argument("--data", required=True, help="a SQLite file, or postgresql://USER@HOST/NAME")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="copy all rows of this SQLite file, whose hub is stopped",
    )
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
        if arguments.source is not None:
            _copy(Path(arguments.source), database)
    return EXIT_DONE


def _copy(path: Path, database: Database) -> None:
    from edge_hub.database.copy_rows import copy
    from edge_hub.database.engine import Database

    if not path.is_file():  # opening it would make it
        raise ConfigError(f"--from {path}: no such file")
    with Database(str(path)) as source:
        counts = copy(source, database)
    for name, count in counts.items():
        if count:
            print(f"{name}: {count} rows")
