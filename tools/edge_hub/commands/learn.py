"""``edge-hub learn``: add what a fleet's devices learned to the model that they run, as a file to convert.

Contributions come from the hub's database (``--data``), or from a running service (``--hub URL``), which also
keeps the report. The model's file is read and written here alone.
The new file goes the way of every model: ``edge-convert convert``, ``edge-hub sign``, ``edge-hub deploy``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import EXIT_DONE, ConfigError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge_agent.wire.npz import Arrays
    from edge_hub.domain.learning import SentEpoch
    from edge_hub.learning_round import LearningRound

LEAST_DEVICES = 3


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("learn", help="add what devices learned to their model's file")
    from_where = parser.add_mutually_exclusive_group(required=True)
    from_where.add_argument(
        "--data", help="the hub's database: a SQLite file, or postgresql://USER@HOST/NAME"
    )
    from_where.add_argument("--hub", metavar="URL", help="ask this edge-hub serve, and report to it")
    parser.add_argument("--token-file", type=Path, help="with --hub: a file whose first line is an API token")
    parser.add_argument("--ca", type=Path, help="with --hub: CA certificate")
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
    from edge_hub import learning_table

    source, output = arguments.source, arguments.output
    least = LEAST_DEVICES if arguments.robust else 1
    if arguments.min_devices < least:
        raise ConfigError(f"--min-devices: found {arguments.min_devices}, expected {least} or more")
    if output.suffix != ".npz":
        raise ConfigError(f"-o {output}: found the suffix {output.suffix!r}, expected .npz")
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"-o {output}: found no folder {output.absolute().parent}, expected it to exist")
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ConfigError(f"--source {source}: {error.strerror}") from error
    if output.exists() and output.samefile(source):
        raise ConfigError(f"-o {output}: found the source, expected another file")
    arrays = npz.parse(content, str(source), ModelError)
    readings = npz.read(arguments.held_out, ModelError) if arguments.held_out else None
    done = (_remote if arguments.hub else _local)(arguments, content, arrays, readings)
    file = npz.write(done.arrays)
    with replaced(output, 0o644) as written:
        written.write(file)
    if arguments.hub:
        from edge_hub import remote_learning
        from edge_hub.remote import RemoteHub

        digests = (hashlib.sha256(one).hexdigest() for one in (content, file))
        remote_learning.report(RemoteHub(arguments), done.report, *digests)
    report = done.report | {"source": str(source), "output": str(output)}
    if arguments.json:
        print(json.dumps(report, allow_nan=False))
    else:
        print(learning_table.shown(report))
    return EXIT_DONE


def _local(
    arguments: argparse.Namespace, content: bytes, arrays: Arrays, readings: Arrays | None
) -> LearningRound:
    """Merge what a database has."""
    from edge_hub import learning_round
    from edge_hub.database import contributions
    from edge_hub.database.engine import Database

    if "://" not in arguments.data and not Path(arguments.data).exists():
        raise ConfigError(f"--data {arguments.data}: No such file")
    with Database(arguments.data) as database:
        database.check()
        which = arguments.fleet, arguments.population
        digest = _digest(arguments, content, contributions.sources(database, *which))
        sent = learning_round.stored(database, *which, digest)
        return _merged(arguments, sent, digest, arrays, readings)


def _remote(
    arguments: argparse.Namespace, content: bytes, arrays: Arrays, readings: Arrays | None
) -> LearningRound:
    """Merge what a service has."""
    from edge_hub import remote_learning
    from edge_hub.remote import RemoteHub

    hub, which = RemoteHub(arguments), (arguments.fleet, arguments.population)
    digest = _digest(arguments, content, remote_learning.sources(hub, *which))
    return _merged(arguments, remote_learning.sent(hub, *which, digest), digest, arrays, readings)


def _merged(
    arguments: argparse.Namespace,
    sent: Iterable[SentEpoch],
    digest: str,
    arrays: Arrays,
    readings: Arrays | None,
) -> LearningRound:
    from edge_hub import learning_round

    return learning_round.run(
        sent,
        arguments.fleet,
        arguments.population,
        digest,
        arrays,
        least=arguments.min_devices,
        robust=arguments.robust,
        readings=readings,
    )


def _digest(arguments: argparse.Namespace, source: bytes, known: Mapping[str, str]) -> str:
    """Return the bundle under which was counted."""
    from edge_agent.wire import bundle
    from edge_hub import learning_round

    if arguments.bundle is None:
        return learning_round.bundle_of(
            known, source, f"--source {arguments.source}", arguments.fleet, arguments.population
        )
    found = bundle.read(arguments.bundle)
    if found.manifest["source_sha256"] != hashlib.sha256(source).hexdigest():
        raise ConfigError(
            f"--source {arguments.source}: {arguments.bundle} was made of another file, expected that one"
        )
    return found.digest
