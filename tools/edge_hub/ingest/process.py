"""A process that ingests and does nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import signal

import uvloop

from edge_hub.broker import Broker
from edge_hub.database.engine import Database
from edge_hub.ingest.registrar import Registrar
from edge_hub.ingest.worker import Worker

COLLECT_OBJECTS = 100_000
"""New objects after which Python looks for cycles; its own default is 700."""
COLLECT_S = 60.0


def set_up_collector() -> None:
    """Let Python look for cycles less often.

    A batch is thousands of small objects without cycles; looking through them costs as much as decoding them.
    """
    gc.set_threshold(COLLECT_OBJECTS, 20, 20)


async def collect_cycles() -> None:
    """Free what refers to itself once per `COLLECT_S`, until cancelled.

    Each time that the database refuses a connection is such a cycle: 100 objects, 25 kB. What is there at the
    start stays, and is left out.
    """
    gc.collect()
    gc.freeze()
    while True:
        await asyncio.sleep(COLLECT_S)
        gc.collect()


def run(database: Database, broker: Broker, fleet: str, group: str, seconds: float = math.inf) -> Worker:
    """Work for some seconds, or until SIGTERM or SIGINT; return the worker and what it counted."""
    set_up_collector()
    return uvloop.run(_run(database, broker, fleet, group, seconds))


async def _run(database: Database, broker: Broker, fleet: str, group: str, seconds: float) -> Worker:
    worker = Worker(database, broker, fleet, group)
    parts = [worker.run(), Registrar(database, broker, fleet).run(), collect_cycles()]
    together = asyncio.gather(*parts)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, together.cancel)
    timer = loop.call_later(seconds, together.cancel) if math.isfinite(seconds) else None
    with contextlib.suppress(asyncio.CancelledError):
        await together
    if timer is not None:
        timer.cancel()
    return worker
