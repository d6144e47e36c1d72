"""``edge-hub ingest``: store telemetry in a database and count the gaps of each outbox.

With ``--data`` it is a worker of the service: it writes the database of ``edge-hub serve``, and with
``--group`` any number of workers share the load (`edge_hub.ingest.worker`). With a file name alone it writes
an archive, one SQLite file for telemetry.

A message is acknowledged to the broker after its transaction. A stored message is confirmed to its device; a
device that waits for this (``hub.confirm`` in device.toml) sends messages again until they are confirmed.

A single process uses a persistent session, so the broker queues messages while the process is not running.
With ``--group`` several workers share the load (a shared subscription) and may share the database. They use
clean sessions, because with a persistent session the broker would queue the share of a stopped worker until
it returns. The other workers receive all new messages immediately, and devices that wait for confirmation
send the messages again that a killed worker had not stored.

A message that cannot be processed is stored in the database with its reason; ``--rejected`` lists these
messages.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from pathlib import Path
from typing import Any

from edge_agent.errors import EXIT_DONE, ConfigError
from edge_hub import connection, hub_messages
from edge_hub.archive import Archive

log = logging.getLogger("edge_hub")


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("ingest", help="store telemetry in a database")
    parser.add_argument(
        "database", type=Path, nargs="?", help="an archive: a SQLite file; created if missing"
    )
    parser.add_argument(
        "--data", help="the service's database: a SQLite file, or postgresql://USER@HOST/NAME"
    )
    parser.add_argument("--group", help="share the load with other workers of this group")
    parser.add_argument("--worker", default="1", help="this worker's name in the group; default: 1")
    parser.add_argument("--rejected", action="store_true", help="list the rejected messages, and exit")
    parser.add_argument(
        "--for", dest="seconds", type=float, default=math.inf, help="stop after this number of seconds"
    )
    connection.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="at the end, print one JSON object per device")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Take telemetry in until the time is over or somebody interrupts; then tell the gaps."""
    if (arguments.data is None) == (arguments.database is None):
        raise ConfigError("ingest: expected either --data or the name of an archive")
    if arguments.data is not None:
        return _work(arguments)
    if arguments.rejected:
        return _list_rejected(arguments)
    archive = Archive(arguments.database)
    end = time.monotonic() + arguments.seconds
    share = f"$share/{arguments.group}/" if arguments.group else ""
    # The name stays the same, so that a session that an older version left at the broker is ended.
    name = f"edge-hub-ingest-{arguments.group or 'alone'}-{arguments.worker}"
    filters = (f"{share}edge/v1/{arguments.fleet}/+/up/telemetry",)
    try:
        with connection.Connection(arguments, filters, name=name, kept=not arguments.group) as link:
            while (left := end - time.monotonic()) > 0:
                batch = list(link.messages(min(left, 1.0)))
                if batch:
                    stored = archive.store([(message.topic, message.payload) for message in batch])
                    link.acknowledge(batch)
                    for key, numbers in stored.items():
                        if not key[2].startswith("@"):
                            link.post(*hub_messages.confirmation(key, numbers))
    finally:
        log.info(
            "worker %s: %d stored, %d repeated, %d rejected",
            *(arguments.worker, archive.stored, archive.repeated, archive.rejected.count),
        )
        archive.rejected.warn()
        for row in archive.gaps():
            print(json.dumps(row) if arguments.json else _line(row))
        archive.close()
    return EXIT_DONE


def _work(arguments: argparse.Namespace) -> int:
    """Be an ingest worker of the service."""
    from edge_hub.broker import Broker
    from edge_hub.database.engine import Database
    from edge_hub.database.gaps import gaps
    from edge_hub.ingest import process

    broker = Broker.of(arguments)
    with Database(arguments.data) as database:
        database.check()
        worker = process.run(database, broker, arguments.fleet, arguments.group or "", arguments.seconds)
        log.info("%d stored, %d rejected", worker.counters.stored, worker.counters.rejected)
        for row in gaps(database):
            print(json.dumps(row) if arguments.json else _line(row))
    return EXIT_DONE


def _list_rejected(arguments: argparse.Namespace) -> int:
    if not arguments.database.exists():
        raise ConfigError(f"{arguments.database}: No such file")
    archive = Archive(arguments.database)
    try:
        for row in archive.set_aside():
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["t"]))
            line = f"{row['id']} {when} {row['topic']}, {row['size']} bytes: {row['reason']}"
            print(json.dumps(row) if arguments.json else line)
    finally:
        archive.close()
    return EXIT_DONE


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['fleet']}/{row['device']}: {row['messages']} messages ({row['first']} to {row['last']}), "
        f"{row['thinned']} thinned out, {row['gaps']} missing"
    )
