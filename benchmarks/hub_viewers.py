"""Cases of `benchmarks.hub`: how many can watch, by Server-Sent Events and over WebSockets.

Theory of operation. The service runs in this process, its viewers in others (`benchmarks.hub_load`), which
print "open" when all streams are open. 200 events per second are said. A viewer that stalls opens its stream
and never reads from it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psutil
import uvicorn
import uvloop

from benchmarks.figures import MORE, Figure, at_least, at_most
from edge_agent.testing.free_ports import free_port
from edge_hub.api import app
from edge_hub.api.hub import Hub
from edge_hub.database import accounts
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.domain import secrets

VIEWERS = 1000
SECONDS = 8
EVENTS, EVERY_S = 20, 0.1


class _Seen(NamedTuple):
    """What viewers saw: events per second, p99 of their age (s), and the hub's processor time per second."""

    rate: float
    p99: float
    share: float


class _Service:
    """A hub that says events, and what its process takes."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.token = token
        self._process = psutil.Process()
        self._rss = self.rss()

    def rss(self) -> int:
        return int(self._process.memory_info().rss)

    @property
    def grown(self) -> float:
        """Megabytes since the start."""
        return (self.rss() - self._rss) / 1e6

    def viewers(self, kind: str, seconds: float) -> subprocess.Popen[str]:
        """Start viewers; return when all their streams are open."""
        words = [kind, str(self.port), self.token, str(VIEWERS), str(seconds)]
        load = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.hub_load", *words], text=True, stdout=subprocess.PIPE
        )
        assert load.stdout is not None
        load.stdout.readline()
        return load

    def watched(self, kind: str) -> _Seen:
        """Let viewers watch."""
        load = self.viewers(kind, SECONDS)
        used, begin = self._cpu(), time.perf_counter()
        time.sleep(SECONDS - 2)
        share = (self._cpu() - used) / (time.perf_counter() - begin)
        found = json.loads(load.communicate()[0].splitlines()[-1])
        return _Seen(found["rate"], found["p99"], share)

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system


@contextmanager
def _service() -> Iterator[_Service]:
    with tempfile.TemporaryDirectory() as folder, Database(f"{folder}/hub.db") as database:
        migrate(database)
        token, now = secrets.make(), time.time()
        with database.write() as connection:
            number = accounts.add_user(connection, "bench", "viewer", "", now)
            accounts.add_token(connection, "t", number, secrets.digest(token), "viewer", [], now, now + 3600)
        hub, port = Hub(database), free_port()
        settings: dict[str, Any] = {"log_level": "warning", "loop": "none", "access_log": False}
        server = uvicorn.Server(uvicorn.Config(app.make(hub), port=port, **settings))
        stop = threading.Event()

        async def speak() -> None:
            # By a schedule: a pause after each turn would let a busy hub be told less.
            due = time.monotonic()
            while not stop.is_set():
                for _ in range(EVENTS):
                    hub.broadcast.say("devices", [{"id": 1, "heard": 1.0, "rss": 1, "at": time.time()}])
                due += EVERY_S
                await asyncio.sleep(max(0.0, due - time.monotonic()))

        async def serve() -> None:
            task = asyncio.create_task(speak())
            await server.serve()
            await task

        thread = threading.Thread(target=lambda: uvloop.run(serve()))
        thread.start()
        while not server.started:
            time.sleep(0.05)
        try:
            yield _Service(port, token)
        finally:
            stop.set()
            server.should_exit = True
            thread.join()


def events() -> Iterator[Figure]:
    """Server-Sent Events to 1,000 viewers: as many as one core delivers."""
    with _service() as service:
        seen = service.watched("viewers")
        grown = service.grown
    yield Figure("events", "delivered", round(seen.rate), "events/s", better=MORE)
    yield at_least("events", "per_core", seen.rate / seen.share, "events/s per core", 150_000)
    yield at_most("events", "p99_age", seen.p99, "s", 0.5)
    yield at_most("events", "grown", grown, "MB", 150)


def sockets() -> Iterator[Figure]:
    """1,000 WebSockets at once, alone and beside 1,000 that stall."""
    with _service() as service:
        alone = service.watched("sockets")
        stalled = service.viewers("stalled", 3 * SECONDS)
        beside = service.watched("sockets")
        grown = service.grown
        stalled.terminate()
        stalled.wait()
    yield Figure("sockets", "delivered", round(alone.rate), "events/s", better=MORE)
    yield at_most("sockets", "p99_age", alone.p99, "s", 0.5)
    yield at_most("sockets", "p99_age_beside_stalled", beside.p99, "s", 0.5)
    yield at_least("sockets", "delivered_beside_stalled", beside.rate / alone.rate, "× alone", 0.95)
    yield at_most("sockets", "grown", grown, "MB", 150)
