"""A simulated fleet against a hub of its own.

Is every device known, every message stored once, every rollout ended?

Theory of operation. Broker, hub (SQLite, or PostgreSQL by ``data``) and fleet are processes of this machine.
A broker process holds at most `PER_BROKER` connections (open files); a larger fleet gets more brokers,
bridged to the one that the hub uses, as in ``deploy/scale``. What the hub has is read from its database and
its REST interface and compared with what the devices say they sent. Cores are shared by all, so times are
this machine's under its own load. Not measured: a network.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.figures import LESS, MORE, Figure, at_least, at_most
from benchmarks.fleet.devices import Report, Share
from benchmarks.fleet.pools import Pool
from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import signatures
from edge_hub.database import accounts, sql
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.domain import secrets
from tests.support import fan

PER_BROKER = 12_000
LINES = (
    "allow_anonymous true",
    "max_inflight_messages 2000",
    "max_queued_messages 0",
    "max_queued_bytes 0",
    "max_connections -1",
)
FLEET = "lab"
GATES = {"shadow_seconds": 1, "trial_seconds": 1, "steps": 100, "missed_rate": 1, "agreement": 0}
ROLLOUT_PER_MINUTE = 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: devices, processes, seconds after all are known, devices of the rollout (0: none), chances."""

    devices: int
    processes: int
    seconds: float
    rollout: int
    telemetry_s: float
    outages: float
    liars: float
    bad: float
    patience_s: float = 600.0
    seed: int = 1


def brokers(folder: Path, count: int, stack: ExitStack) -> list[Mosquitto]:
    """Start a broker for the hub and, for more devices than it can hold, shards that are bridged to it.

    The first is the hub's; devices use the others, or the first where it is alone.
    """
    shards = -(-count // PER_BROKER) if count > PER_BROKER else 0
    made: list[Mosquitto] = []
    for number in range(shards + 1):
        place = folder / f"broker-{number}"
        place.mkdir()
        lines = list(LINES)
        if number:
            lines += [f"connection shard-{number}", f"address 127.0.0.1:{made[0].port}", "cleansession false"]
            lines += ["topic edge/v1/+/+/up/# out 1", "topic edge/v1/+/+/down/# in 1", "notifications false"]
            lines += ["restart_timeout 1", "bridge_max_packet_size 0"]
        broker = Mosquitto(place, lines)
        broker.start()
        stack.callback(broker.stop)
        made.append(broker)
    return made


def shares(plan: Plan, ports: list[int], hub_key: str) -> list[Share]:
    """Divide the devices among processes, and the processes among brokers."""
    cuts = [plan.devices * n // plan.processes for n in range(plan.processes + 1)]
    common = Share(
        0,
        0,
        ("127.0.0.1", 0),
        fleet=FLEET,
        telemetry_s=plan.telemetry_s,
        outages=plan.outages * plan.devices / plan.processes,
        liars=plan.liars,
        bad=plan.bad,
        hub_key=hub_key,
        ramp=2000.0 / plan.processes,
    )
    return [
        replace(
            common,
            first=first,
            count=last - first,
            broker=("127.0.0.1", ports[number % len(ports)]),
            seed=plan.seed + number,
        )
        for number, (first, last) in enumerate(pairwise(cuts))
    ]


def run(plan: Plan, pool: Pool, data: str = "") -> Iterator[Figure]:
    """Run it all; yield the figures."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        key = folder / "hub.key"
        public = signatures.save(signatures.generate("fleet"), key)
        made = brokers(folder, plan.devices, stack)
        database = stack.enter_context(Database(data or f"{folder}/hub.db"))
        migrate(database)
        client, process = _hub(folder, database, made[0].port, key, stack)
        ports = [broker.port for broker in made[1:] or made]
        pool.start(shares(plan, ports, str(public)))
        stack.callback(pool.end)
        begin = time.monotonic()
        _until("every device is known", lambda: _known(client) == plan.devices, plan.patience_s)
        yield Figure("fleet", "known_after", round(time.monotonic() - begin, 1), "s", better=LESS)
        yield at_least("fleet", "known", 100 * _known(client) / plan.devices, "%", 100)
        cpu = _cpu(process)
        begin = time.monotonic()
        if plan.rollout:
            yield from _rollout(plan, client, process, folder, key)
        time.sleep(max(0.0, plan.seconds - (time.monotonic() - begin)))
        pool.stop()
        report = Report()
        for part in pool.results():
            report.add(part)
        yield Figure("fleet", "hub_processor", round(_cpu(process) - cpu, 2), "s", better=LESS)
        yield Figure("fleet", "hub_rss", round(process.memory_info().rss / 1e6, 1), "MB", better=LESS)
        yield from judged(plan, report, database)


def judged(plan: Plan, report: Report, database: Database) -> Iterator[Figure]:
    """Compare what devices sent with what is stored."""
    with database.read() as connection:
        query = (
            "SELECT devices.name, count(*), count(DISTINCT seq) FROM telemetry "
            "JOIN devices ON devices.id = telemetry.device_id JOIN outboxes ON outboxes.id = outbox_id "
            "WHERE outboxes.outbox = 'outbox-lab-' || devices.name GROUP BY devices.name"
        )
        stored = {row[0]: row[1:] for row in sql.run(connection, query)}
        aside = int(sql.one(connection, "SELECT count(*) FROM rejected"))
    lost = twice = 0
    for device, last in report.outboxes.items():
        count, different = stored.get(device, (0, 0))
        lost += last - different
        twice += count - different
    yield Figure("fleet", "telemetry", report.sent, "messages", better=MORE)
    yield at_most("fleet", "lost", lost, "messages", 0)
    yield at_most("fleet", "twice", twice, "messages", 0)
    yield at_most("fleet", "unconfirmed", report.unconfirmed, "messages", 0)
    yield Figure("fleet", "outages", report.outages, "connections")
    yield at_least("fleet", "reconnected", report.connects - report.devices, "connections", report.outages)
    if plan.liars:
        yield Figure("fleet", "lies", report.lies_refused + report.lies_harmless, "messages")
        yield at_least("fleet", "lies_kept_aside", aside, "messages", report.lies_refused)


def _rollout(
    plan: Plan, client: httpx.Client, process: psutil.Process, folder: Path, key: Path
) -> Iterator[Figure]:
    bundle = folder / "new.eab"
    fan.write(bundle, fan.model(preference=2.0), "new", signatures.load_secret(key))
    digest = client.post("/bundles", content=bundle.read_bytes()).json()["digest"]
    last = f"name=d{plan.rollout // 10_000}*" if plan.rollout < plan.devices else ""
    wanted: dict[str, Any] = {
        "fleet": FLEET,
        "bundle": digest,
        "population": "rooms",
        "canary": "5%,100%",
        "gates": GATES,
        "max_failures": plan.rollout,
        "patience_s": 300,
        "approve": True,
    }
    if last:
        wanted["filter"] = "name=d00*" if plan.rollout <= 1000 else "name=d0*"
    before, begin = _cpu(process), time.monotonic()
    made = client.post("/rollouts", json=wanted)
    if made.status_code != 201:
        raise SystemExit(f"fleet: rollout: {made.text}")
    id_, members = made.json()["id"], len(made.json()["state"]["members"])
    yield Figure("rollout", "devices", members, "devices")
    yield at_most("rollout", "plan", time.monotonic() - begin, "s", 2.0)
    took: list[float] = []
    nearly: list[float] = []

    def ended() -> bool:
        asked = time.monotonic()
        rows = client.get("/rollouts?limit=5").json()
        took.append(time.monotonic() - asked)
        row = next(row for row in rows if row["id"] == id_)
        left = sum(row["counts"].get(state, 0) for state in (*OPEN, "parked"))
        if left <= NEARLY * members and not nearly:
            nearly.append(time.monotonic() - begin)
        return row["status"] in ("done", "stopped", "aborted")

    _until("the rollout has ended", ended, plan.patience_s)
    seconds = time.monotonic() - begin
    states: dict[str, int] = {}
    for member in client.get(f"/rollouts/{id_}").json()["state"]["members"].values():
        states[member["state"]] = states.get(member["state"], 0) + 1
    took.sort()
    for state, count in sorted(states.items()):
        yield Figure("rollout", state, count, "devices")
    yield at_most("rollout", "without_an_end", sum(states.get(state, 0) for state in OPEN), "devices", 0)
    yield at_most("rollout", "status_p50", took[len(took) // 2] * 1e3, "ms", 50)
    rate = members * (1 - NEARLY) / nearly[0] * 60 if nearly else 0.0
    yield at_least("rollout", "rate_of_99", rate, "devices/minute", ROLLOUT_PER_MINUTE)
    yield Figure("rollout", "rate_of_all", members / seconds * 60, "devices/minute", better=MORE)
    yield Figure("rollout", "hub_cost", round((_cpu(process) - before) / members * 1e3, 3), "ms/device")


NEARLY = 0.01
"""Of the devices: the last ones to end are those whose connection the simulation cut; they are not waited for
by the figure with a target.
"""
OPEN = ("waiting", "sent")
"""States of a rollout's member without an end or a reason; a parked one is offline and takes part later."""


def _hub(
    folder: Path, database: Database, broker: int, key: Path, stack: ExitStack
) -> tuple[httpx.Client, psutil.Process]:
    port, log = free_port(), folder / "hub.log"
    words = ["serve", "--data", database.name, "--broker", f"127.0.0.1:{broker}", "--sign", str(key)]
    words += ["--listen", f"127.0.0.1:{port}", "--state", str(folder / "state")]
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "edge_hub.cli", *words], stdout=file, stderr=file)

    def end() -> None:
        process.terminate()
        process.wait()

    stack.callback(end)
    token, now = secrets.make(secrets.TOKEN_PREFIX), time.time()
    with database.write() as connection:
        number = accounts.add_user(connection, "fleet", "admin", "", now)
        digest = secrets.digest(token)
        accounts.add_token(connection, "fleet", number, digest, "admin", [], now, now + 86_400.0)
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}/api/v1",
        headers={"Authorization": f"Bearer {token}"},
        timeout=120,
    )
    stack.callback(client.close)

    def lives() -> bool:
        if process.poll() is not None:
            raise SystemExit(f"fleet: the hub ended: {log.read_text('utf-8')[-500:]}")
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    _until("the hub answers", lives, 60.0)
    return client, psutil.Process(process.pid)


def _known(client: httpx.Client) -> int:
    rows: list[dict[str, Any]] = client.get("/fleets").json()
    return sum(int(row["devices"]) for row in rows)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _until(what: str, condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"fleet: not within {seconds:g} s: {what}")
        time.sleep(0.5)


def shown(report: Report) -> str:
    """Return a report of devices alone as one JSON object."""
    found = {name: getattr(report, name) for name in Report.__dataclass_fields__ if name != "outboxes"}
    return json.dumps(found)
