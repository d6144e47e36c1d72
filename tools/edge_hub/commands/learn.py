"""``edge-hub learn``: add what a fleet's devices learned to the model that they run, as a file to convert.

The new file goes the way of every model: ``edge-convert convert``, ``edge-hub sign``, ``edge-hub deploy``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import EXIT_DONE, ConfigError, ModelError

if TYPE_CHECKING:
    from edge_hub.database.engine import Database

LEAST_DEVICES = 3


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("learn", help="add what devices learned to their model's file")
    parser.add_argument(
        "--data", required=True, help="the hub's database: a SQLite file, or postgresql://USER@HOST/NAME"
    )
    parser.add_argument("--fleet", required=True, help="fleet name")
    parser.add_argument("--population", required=True, help="the population that learned")
    parser.add_argument(
        "--source", type=Path, required=True, metavar="FILE", help="the .npz that the bundle was made of"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the .npz to write")
    parser.add_argument(
        "--bundle", type=Path, metavar="FILE", help="the .eab that ran, if the hub does not have it"
    )
    parser.add_argument(
        "--min-devices",
        type=int,
        default=LEAST_DEVICES,
        metavar="N",
        help="refuse contributions of fewer devices; default: %(default)s",
    )
    parser.add_argument(
        "--robust",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="count no device more than the median one, and leave out the least and the largest count of "
        "each cell; default: yes",
    )
    parser.add_argument(
        "--held-out", type=Path, metavar="FILE", help=".npz with trace_obs: readings to judge by"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Merge, write the file, and report."""
    from edge_agent.atomic_file import replaced
    from edge_agent.wire import npz
    from edge_hub import learning_round, learning_table
    from edge_hub.database.engine import Database

    source, output = arguments.source, arguments.output
    least = LEAST_DEVICES if arguments.robust else 1
    if arguments.min_devices < least:
        raise ConfigError(f"--min-devices: found {arguments.min_devices}, expected {least} or more")
    if output.suffix != ".npz":
        raise ConfigError(f"-o {output}: found the suffix {output.suffix!r}, expected .npz")
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"-o {output}: found no folder {output.absolute().parent}, expected it to exist")
    if "://" not in arguments.data and not Path(arguments.data).exists():
        raise ConfigError(f"--data {arguments.data}: No such file")
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ConfigError(f"--source {source}: {error.strerror}") from error
    if output.exists() and output.samefile(source):
        raise ConfigError(f"-o {output}: found the source, expected another file")
    arrays = npz.parse(content, str(source), ModelError)
    readings = npz.read(arguments.held_out, ModelError) if arguments.held_out else None
    with Database(arguments.data) as database:
        database.check()
        digest = _digest(database, arguments, content)
        done = learning_round.run(
            database,
            arguments.fleet,
            arguments.population,
            digest,
            arrays,
            least=arguments.min_devices,
            robust=arguments.robust,
            readings=readings,
        )
    with replaced(output, 0o644) as file:
        file.write(npz.write(done.arrays))
    report = done.report | {"source": str(source), "output": str(output)}
    if arguments.json:
        print(json.dumps(report, allow_nan=False))
    else:
        print(learning_table.shown(report))
    return EXIT_DONE


def _digest(database: Database, arguments: argparse.Namespace, source: bytes) -> str:
    """Return the bundle under which was counted."""
    import hashlib

    from edge_agent.wire import bundle
    from edge_hub import learning_round

    if arguments.bundle is None:
        return learning_round.bundle_of(
            database, source, f"--source {arguments.source}", arguments.fleet, arguments.population
        )
    found = bundle.read(arguments.bundle)
    if found.manifest["source_sha256"] != hashlib.sha256(source).hexdigest():
        raise ConfigError(
            f"--source {arguments.source}: {arguments.bundle} was made of another file, expected that one"
        )
    return found.digest
