"""The hub as a service: what a message costs, how quick the list is, how many can watch.

Theory of operation. Broker, hub, database and load are processes of their own on loopback; a cost is the
processor time of the hub's process (for PostgreSQL, of its server too, where that is said). Beside it, in the
same run, the same messages go to today's ``edge-hub ingest FILE``. Load and hub share the cores, so rates are
what the machine carries with its own load on it. Not measured: a network, a disk that is slow to sync.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.cases import run
from benchmarks.figures import LESS, MORE, Figure, at_least, at_most
from benchmarks.hub_load import telemetry as report
from benchmarks.hub_viewers import events, sockets
from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import topics
from edge_hub.archive import Archive
from edge_hub.database import accounts, devices, sql, telemetry
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.domain import days, filters, secrets
from edge_hub.ingest import decode
from edge_hub.ingest.process import set_up_collector
from edge_hub.jobs.changes import POLL_S, Changes
from edge_hub.rollout import FleetRollout, Member, waves
from edge_hub.testing.postgresql import PostgreSQL

ROWS = 20_000
BATCH = 1000
STORE_ROUNDS = 7
MESSAGES = 20_000
WORKERS_MESSAGES = 100_000
WORKERS_ROUNDS = 7
RATE = 5000.0
DEVICES = 10_000
FLEET = 20_000
BROKER = (
    "allow_anonymous true",
    "max_inflight_messages 2000",
    "max_queued_messages 0",
    "max_queued_bytes 0",
    "max_connections -1",
)


def _python(*words: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *words], text=True, **more)


def _until(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("it did not happen in time")
        time.sleep(0.05)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def _broker(folder: str) -> Iterator[Mosquitto]:
    place = Path(folder) / "broker"
    place.mkdir()
    broker = Mosquitto(place, BROKER)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def _token(database: Database) -> str:
    token, now = secrets.make(), time.time()
    with database.write() as connection:
        number = accounts.add_user(connection, "bench", "admin", "", now)
        accounts.add_token(connection, "t", number, secrets.digest(token), "admin", [], now, now + 3600)
    return token


def _fill(database: Database, count: int) -> None:
    numbers, now = telemetry.Numbers(), time.time()
    names = [("lab", f"d{n:05}") for n in range(count)]
    births = [
        devices.Birth(*name, True, "0.1.0", "pi4b-1gb", "boot", now, "{}", {"rooms": ("ab" * 32, 20)})
        for name in names
    ]
    with database.write() as connection:
        numbers.find_devices(connection, names)
        devices.note_births(connection, numbers.devices, births)
    telemetry.note_latest(
        database,
        numbers,
        dict.fromkeys(names, (now, now, 1)),
        {name: {"rooms": '{"tick":1}'} for name in names},
    )


@contextmanager
def _service(folder: str, data: str, broker: int, *more: str) -> Iterator[tuple[psutil.Process, int]]:
    port = free_port()
    words = ["-m", "edge_hub.cli", "serve", "--data", data, "--broker", f"127.0.0.1:{broker}"]
    words += ["--listen", f"127.0.0.1:{port}", "--state", f"{folder}/state", *more]
    with Path(folder, "serve.log").open("w") as log:
        process = _python(*words, stdout=log, stderr=log)

    def lives() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        _until(lives)
        yield psutil.Process(process.pid), port
    finally:
        process.terminate()
        process.wait()


def store() -> Iterator[Figure]:
    """Measure storing alone: batches of 1,000 from memory, processor time per row beside today's archive; the
    median of interleaved rounds.
    """
    sent = [report(n % 200, n // 200 + 1, time.time() + n / 100) for n in range(ROWS)]
    set_up_collector()  # as a worker does
    costs: dict[str, list[float]] = {"archive": [], "sqlite": [], "postgresql": [], "postgresql_server": []}
    gains: dict[str, list[float]] = {"sqlite": [], "postgresql": []}

    def note(kind: str, archive: float, found: float) -> None:
        costs["archive"].append(archive)
        costs[kind].append(found)
        gains[kind].append(archive / found)

    for _ in range(STORE_ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            archive = _archiving(folder, sent)
            with Database(f"{folder}/hub.db") as database:
                migrate(database)
                note("sqlite", archive, _storing(database, sent))
    server = PostgreSQL()
    server.start()
    try:
        for _ in range(STORE_ROUNDS):
            with tempfile.TemporaryDirectory() as folder, Database(server.new_database()) as database:
                archive = _archiving(folder, sent)
                migrate(database)
                inside = _family(server)
                note("postgresql", archive, _storing(database, sent))
                costs["postgresql_server"].append((_family(server) - inside) / ROWS * 1e6)
    finally:
        server.remove()
    for kind, found in costs.items():
        better = None if kind == "archive" else LESS
        yield Figure("store", kind, round(statistics.median(found), 2), "µs/row", better=better)
    for kind, found in gains.items():
        ratio = round(statistics.median(found), 2)
        yield Figure("store", f"{kind}_gain", ratio, "×", "archive", ratio, 5.0, ratio >= 5.0, MORE)


def _archiving(folder: str, sent: list[tuple[str, bytes]]) -> float:
    """Store messages in an empty archive; return processor time per row, µs."""
    archive = Archive(Path(folder) / "archive.db")
    os.sync()  # whoever is measured must not pay for writing what the one before left
    begin = time.process_time()
    for first in range(0, ROWS, BATCH):
        archive.store(sent[first : first + BATCH])
    took = time.process_time() - begin
    archive.close()
    return took / ROWS * 1e6


def _storing(database: Database, sent: Sequence[tuple[str, bytes]]) -> float:
    """Store messages in an empty database; return processor time per row, µs."""
    now = time.time()
    numbers, near = telemetry.Numbers(), days.near(now)
    names = {topic: topics.parse(topic) for topic, _ in sent}  # a worker keeps them as well
    os.sync()
    begin = time.process_time()
    for first in range(0, ROWS, BATCH):
        batch = [
            decode.telemetry(names[topic].fleet, names[topic].device, payload, now, near)
            for topic, payload in sent[first : first + BATCH]
        ]
        telemetry.store(database, numbers, batch, str)
    return (time.process_time() - begin) / ROWS * 1e6


def _family(server: PostgreSQL) -> float:
    """Return the processor time of a server and its processes, seconds; not of those that have ended."""
    process, total = psutil.Process(server.pid), 0.0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += _cpu(one)
    return total


def _ingested(
    words: list[str], data: str, port: int, workers: int = 1, messages: int = MESSAGES
) -> tuple[float, float]:
    """Return processor time per message (µs) and messages per second of some workers."""
    processes = [_python("-m", "edge_hub.cli", *words, stdout=subprocess.DEVNULL) for _ in range(workers)]
    watched = [psutil.Process(process.pid) for process in processes]

    def count() -> int:
        if "://" in data:
            with Database(data) as database, database.read() as connection:
                return int(sql.one(connection, "SELECT count(*) FROM telemetry"))
        with sqlite3.connect(data) as connection:
            found = connection.execute("SELECT count(*) FROM telemetry").fetchone()
        return int(found[0])

    _python("-m", "benchmarks.hub_load", "publish", str(port), "2000", "200", "2000").wait()
    time.sleep(2.0)  # the workers' start is not counted
    _python("-m", "benchmarks.hub_load", "publish", str(port), "2000", "200", "2000").wait()
    _until(lambda: count() >= 2000)
    before, begin = sum(map(_cpu, watched)), time.perf_counter()
    wanted = messages - 2000
    load = _python("-m", "benchmarks.hub_load", "publish", str(port), str(messages), "200", "1e6")
    _until(lambda: count() >= messages)
    rate = wanted / (time.perf_counter() - begin)
    load.wait()
    cost = (sum(map(_cpu, watched)) - before) / messages * 1e6
    for process in processes:
        process.terminate()
        process.wait()
    return cost, rate


def ingest() -> Iterator[Figure]:
    """From the broker to the commit: the hub's processor time a message, beside today's ingest."""
    with tempfile.TemporaryDirectory() as folder, _broker(folder) as broker:
        address = ["--broker", f"127.0.0.1:{broker.port}"]
        old, new = f"{folder}/archive.db", f"{folder}/hub.db"
        Archive(Path(old)).close()
        today, rate = _ingested(["ingest", old, *address], old, broker.port)
        yield Figure("ingest", "today", round(today, 2), "µs/message")
        yield Figure("ingest", "today_rate", round(rate), "messages/s")
    with tempfile.TemporaryDirectory() as folder, _broker(folder) as broker:
        address, new = ["--broker", f"127.0.0.1:{broker.port}"], f"{folder}/hub.db"
        with Database(new) as database:
            migrate(database)
        cost, rate = _ingested(["ingest", "--data", new, *address], new, broker.port)
        yield at_most("ingest", "cost", cost, "µs/message", 30.0)
        value = today / cost
        yield Figure(
            "ingest", "gain", round(value, 2), "×", "today", round(value, 2), 3.0, value >= 3.0, MORE
        )
        yield Figure("ingest", "rate", round(rate), "messages/s", better=MORE)


def workers() -> Iterator[Figure]:
    """One worker and four on PostgreSQL: processor time per message, the median of interleaved rounds."""
    server = PostgreSQL()
    server.start()
    costs: dict[int, list[float]] = {1: [], 4: []}
    rates: dict[int, list[float]] = {1: [], 4: []}
    try:
        for count in [*costs] * WORKERS_ROUNDS:
            with tempfile.TemporaryDirectory() as folder, _broker(folder) as broker:
                data = server.new_database()
                with Database(data) as database:
                    migrate(database)
                words = ["ingest", "--data", data, "--group", "g", "--broker", f"127.0.0.1:{broker.port}"]
                cost, rate = _ingested(words, data, broker.port, count, WORKERS_MESSAGES)
                costs[count].append(cost)
                rates[count].append(rate)
    finally:
        server.remove()
    for count in costs:
        yield Figure(
            "workers", f"cost_{count}", round(statistics.median(costs[count]), 2), "µs/message", better=LESS
        )
        yield Figure(
            "workers", f"rate_{count}", round(statistics.median(rates[count])), "messages/s", better=MORE
        )
    growth = statistics.median(four / one for one, four in zip(costs[1], costs[4], strict=True)) - 1
    yield at_most("workers", "growth", 100 * growth, "%", 10.0)


def rest() -> Iterator[Figure]:
    """Ask for the list of 10,000 devices: pages of 50, 20 callers, and 5,000 messages per second come in."""
    with tempfile.TemporaryDirectory() as folder, _broker(folder) as broker:
        data = f"{folder}/hub.db"
        with Database(data) as database:
            migrate(database)
            _fill(database, DEVICES)
            token = _token(database)
        with _service(folder, data, broker.port) as (_, port):
            count = int(RATE * 8)
            words = ["publish", str(broker.port), str(count), str(DEVICES), str(RATE)]
            load = _python("-m", "benchmarks.hub_load", *words)
            time.sleep(1.0)
            words = ["rest", str(port), token, "20", "5", "/api/v1/devices?limit=50"]
            asked = _python("-m", "benchmarks.hub_load", *words, stdout=subprocess.PIPE)
            found = json.loads(asked.communicate()[0])
            load.wait()
            _until(lambda: _stored(data) == count)
            yield at_least("rest", "requests", found["rate"], "requests/s", 2500)
            yield at_most("rest", "p95", found["p95"] * 1e3, "ms", 25)


def _stored(data: str) -> int:
    with sqlite3.connect(data) as connection:
        found = connection.execute("SELECT count(*) FROM telemetry").fetchone()
    return int(found[0])


def changes() -> Iterator[Figure]:
    """Look for what changed among 20,000 devices, of which each reports once per 10 s (SQLite)."""
    parts = round(10.0 / POLL_S)
    with tempfile.TemporaryDirectory() as folder, Database(f"{folder}/hub.db") as database:
        migrate(database)
        _fill(database, FLEET)
        now, took = time.time(), []
        feeds = Changes(database, lambda: now)
        for poll in range(3 * parts):
            now += POLL_S
            with database.write() as connection:
                query = "UPDATE latest SET heard = ? WHERE device_id % ? = ?"
                sql.run(connection, query, (now, parts, poll % parts))
            begin = time.process_time()
            feeds.poll()
            took.append(time.process_time() - begin)
        yield Figure("changes", "poll", round(statistics.median(took[parts:]) * 1e3, 1), "ms", better=LESS)


def registry() -> Iterator[Figure]:
    """20,000 retained births: how many are known, and after how long."""
    with tempfile.TemporaryDirectory() as folder, _broker(folder) as broker:
        _python("-m", "benchmarks.hub_load", "births", str(broker.port), str(FLEET)).wait()
        data = f"{folder}/hub.db"
        with Database(data) as database:
            migrate(database)
        begin = time.perf_counter()
        with _service(folder, data, broker.port) as (process, _), Database(data) as database:
            _until(lambda: _known(database) >= FLEET)
            took = time.perf_counter() - begin
            yield at_least("registry", "known", 100 * _known(database) / FLEET, "%", 100)
            yield Figure("registry", "after", round(took, 2), "s", better=LESS)
            yield Figure("registry", "rss", round(process.memory_info().rss / 1e6, 1), "MB", better=LESS)


def _known(database: Database) -> int:
    with database.read() as connection:
        return int(sql.one(connection, "SELECT count(*) FROM devices WHERE born > 0"))


def idle() -> Iterator[Figure]:
    """Leave a service alone that knows 1,000 devices."""
    with tempfile.TemporaryDirectory() as folder, _broker(folder) as broker:
        data = f"{folder}/hub.db"
        with Database(data) as database:
            migrate(database)
            _fill(database, 1000)
            token = _token(database)
        with _service(folder, data, broker.port) as (process, port):
            client = {"Authorization": f"Bearer {token}"}
            httpx.get(f"http://127.0.0.1:{port}/api/v1/devices?limit=1000", headers=client)
            time.sleep(5.0)
            yield at_most("idle", "rss", process.memory_info().rss / 1e6, "MB", 120)


def rollout() -> Iterator[Figure]:
    """Plan a rollout over 10,000 devices and ask for its status."""
    with tempfile.TemporaryDirectory() as folder, Database(f"{folder}/hub.db") as database:
        migrate(database)
        _fill(database, DEVICES)
        begin = time.perf_counter()
        names = [name for _, name in devices.numbers_of(database, filters.parse("online"), time.time())]
        parts = waves(names, [0.05, 0.25, 1.0], "id")
        planned = FleetRollout("id", "d", "n", "rooms", parts, {name: Member() for name in names})
        from edge_hub.database import rollouts

        row = {"id": "id", "fleet": "lab", "population": "rooms", "bundle": "d", "status": "running"}
        row |= {"created_by": "x", "group_name": "", "filter": "online"}
        with database.write() as connection:
            rollouts.add(connection, **row, created=time.time(), state=planned.state())
        yield at_most("rollout", "plan", time.perf_counter() - begin, "s", 2.0)
        begin = time.perf_counter()
        rollouts.page(database, 50, 1e12)
        yield at_most("rollout", "status", (time.perf_counter() - begin) * 1e3, "ms", 50)


CASES: dict[str, Callable[[], Iterator[Figure]]] = {
    "store": store,
    "ingest": ingest,
    "workers": workers,
    "rest": rest,
    "events": events,
    "sockets": sockets,
    "changes": changes,
    "registry": registry,
    "idle": idle,
    "rollout": rollout,
}

if __name__ == "__main__":
    sys.exit(run("benchmarks.hub", __doc__, CASES))
