"""Simulate a fleet: ``python -m benchmarks.fleet --devices 20000 --processes 2 --seconds 60 --json``.

Without ``--broker`` it starts a broker and a hub of its own, runs births, telemetry, outages, lies and a
rollout, and judges what the hub has: figures, exit status 1 where one does not hold. With ``--broker`` it is
the devices alone, at somebody's broker, until ``--seconds`` are over or it is told to end (SIGTERM); then it
prints one JSON object. With ``--ray`` the processes are tasks of a Ray cluster.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.figures import Figure, show
from benchmarks.fleet import experiment
from benchmarks.fleet.devices import Report, Share
from benchmarks.fleet.pools import Pool, Processes, RayPool
from edge_agent.errors import EdgeAgentError
from edge_hub.broker import address


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="default: 60, with --broker until SIGTERM")
    parser.add_argument("--minutes", type=float, help="the same in minutes")
    parser.add_argument("--telemetry-s", type=float, default=30.0, help="between two messages of a device")
    parser.add_argument("--outages", type=float, default=0.001, help="part of the devices cut per second")
    parser.add_argument("--lies", type=float, default=0.01, help="part of the devices that lie")
    parser.add_argument("--bad", type=float, default=0.0, help="part of the devices that a bundle is bad for")
    parser.add_argument("--rollout", type=int, default=-1, help="devices of the rollout; default: all")
    parser.add_argument("--data", default="", help="the hub's database; default: a SQLite file of its own")
    parser.add_argument("--broker", metavar="HOST:PORT", help="devices alone, at this broker")
    parser.add_argument("--fleet", default="lab", help="with --broker: the fleet's name")
    parser.add_argument("--hub-key", default="", metavar="PUB", help="with --broker: whose word devices take")
    parser.add_argument("--ca", default="", help="with --broker: CA certificate, TLS")
    parser.add_argument("--certificate", default="", help="with --broker: the devices' certificate")
    parser.add_argument("--key", default="", help="its key")
    parser.add_argument("--server-name", default="", help="with --broker: the name in TLS (SNI)")
    parser.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster: auto, ray://…, local")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> int:
    """Run."""
    arguments = _arguments()
    if arguments.minutes is not None:
        arguments.seconds = 60 * arguments.minutes
    arguments.processes = max(1, min(arguments.processes, arguments.devices))
    try:
        pool: Pool = RayPool(arguments.ray) if arguments.ray else Processes()
        return _devices(arguments, pool) if arguments.broker else _experiment(arguments, pool)
    except EdgeAgentError as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 1


def _plan(arguments: argparse.Namespace) -> experiment.Plan:
    return experiment.Plan(
        arguments.devices,
        arguments.processes,
        60.0 if arguments.seconds is None else arguments.seconds,
        arguments.devices if arguments.rollout < 0 else arguments.rollout,
        arguments.telemetry_s,
        arguments.outages,
        arguments.lies,
        arguments.bad,
        seed=arguments.seed,
    )


def _experiment(arguments: argparse.Namespace, pool: Pool) -> int:
    holds = True

    def judged() -> Iterator[Figure]:
        nonlocal holds
        for figure in experiment.run(_plan(arguments), pool, arguments.data):
            holds &= figure.holds is not False
            yield figure

    show(judged(), arguments.json)
    return 0 if holds else 1


def _devices(arguments: argparse.Namespace, pool: Pool) -> int:
    host, port = address(arguments.broker, 1883)
    found: list[Share] = [
        replace(
            share,
            broker=(host, port),
            fleet=arguments.fleet,
            ca=arguments.ca,
            certificate=arguments.certificate,
            key=arguments.key,
            server_name=arguments.server_name,
            seconds=math.inf if arguments.seconds is None else arguments.seconds,
        )
        for share in experiment.shares(_plan(arguments), [port], arguments.hub_key)
    ]
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    report = Report()
    pool.start(found)
    try:
        ended.wait(arguments.seconds)
        pool.stop()
        for part in pool.results():
            report.add(part)
    finally:
        pool.end()
    print(experiment.shown(report), flush=True)
    return 0 if not report.never_online and not report.unconfirmed else 1


if __name__ == "__main__":
    sys.exit(main())
