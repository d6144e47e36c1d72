"""The evaluator of alerts over a large fleet: what a look at all devices costs.

Theory of operation. A hub's default rules over 20,000 devices, all of which send rss, counters and health; an
hour of telemetry of each is rolled up, ten minutes apart, for the rules that look back. The clock is the
process's own. A first look reads the windows; between two of these, a minute and more apart, looks compare
what is now. Then all devices fall silent at once: one look raises the alert, its states and notices.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.cases import run
from benchmarks.figures import Figure, at_most
from edge_agent.wire import messages
from edge_agent.wire.messages import Message
from edge_hub.database import leases, rollups, telemetry
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.database.telemetry import HEALTH_ROW, Numbers
from edge_hub.ingest import decode
from edge_hub.jobs.alerts import LEASE, PERIOD_S, Evaluator

DEVICES = 20_000
LOOKS = 7
STEPS = 6
STEP_S = 600.0
BATCH = 2000
COUNTERS = {"rooms": {"tick": 100, "steps": 2000, "contradictions": 3, "missed": 0}}
HEALTH = {"temperature_c": 55.0, "throttled": 0, "disk_free_mb": 5000, "clock_synchronised": 1, "starts": 1}


def _fill(database: Database, begin: float) -> None:
    """Store an hour of telemetry of every device, and roll it up."""
    names = [("lab", f"d{n:05}") for n in range(DEVICES)]
    numbers = Numbers()
    for step in range(STEPS):
        t = begin + step * STEP_S
        body = {"populations": COUNTERS, "rss": 40_000_000 + 1000 * step, "health": HEALTH, "outbox": "o"}
        payload = messages.encode(Message(body, seq=step, t=t))
        rows = [decode.telemetry(*name, payload, t) for name in names]
        for first in range(0, len(rows), BATCH):
            telemetry.store(database, numbers, rows[first : first + BATCH], lambda _: "topic")
    now = begin + STEPS * STEP_S
    counters = {"rooms": json.dumps(COUNTERS["rooms"]), HEALTH_ROW: json.dumps(HEALTH)}
    telemetry.note_latest(
        database, numbers, dict.fromkeys(names, (now, now, 40_000_000)), dict.fromkeys(names, counters)
    )
    rollups.advance(database, now + 120.0, lambda: True)


def _seconds(look: Callable[[], None]) -> float:
    begin = time.process_time()
    look()
    return time.process_time() - begin


def evaluator() -> Iterator[Figure]:
    """Look at 20,000 devices."""
    with tempfile.TemporaryDirectory() as folder, Database(f"{folder}/hub.db") as database:
        migrate(database)
        begin = time.time() - STEPS * STEP_S
        begin -= begin % 3600
        _fill(database, begin)
        lease = leases.Lease(database, LEASE, 3600.0)
        lease.acquire()
        evaluator = Evaluator(database, lease, ["ops"])
        now = begin + STEPS * STEP_S
        yield at_most(
            "evaluator", "first_look", round(_seconds(lambda: evaluator.look(now)), 2), "s CPU", 60.0
        )
        looks = [_seconds(partial(evaluator.look, now + PERIOD_S * n)) for n in range(1, LOOKS)]
        yield at_most("evaluator", "look", round(statistics.median(looks), 3), "s CPU", PERIOD_S / 2)
        silent = now + 400.0
        evaluator.look(silent)
        told = _seconds(lambda: evaluator.look(silent + 40.0))
        yield at_most("evaluator", "all_silent", round(told, 2), "s CPU", 10.0)


CASES = {"evaluator": evaluator}

if __name__ == "__main__":
    sys.exit(run("benchmarks.alerts", __doc__, CASES))
