"""An ingest worker and the registrar, with a real Mosquitto."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
import uvloop

from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import bodies, messages
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub.broker import Broker
from edge_hub.cli import main
from edge_hub.database import devices, leases, sql, telemetry
from edge_hub.database.engine import Database
from edge_hub.ingest.mqtt_stream import Publish
from edge_hub.ingest.registrar import Registrar
from edge_hub.ingest.worker import Worker
from edge_hub.testing.postgresql import PostgreSQL

pytestmark = pytest.mark.broker


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for other threads and processes; the deadline is for the case that it never happens."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


class Running:
    """Coroutines in a loop of their own thread."""

    def __init__(self, *parts: Worker | Registrar) -> None:
        self._loop = uvloop.new_event_loop()
        self._tasks = [self._loop.create_task(part.run()) for part in parts]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(asyncio.gather(*self._tasks))
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._tasks])
        self._thread.join()


class Ear:
    """A client that publishes, and keeps what it hears."""

    def __init__(self, port: int, *filters: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _c, _u, m: self.heard.append((m.topic, m.payload))
        self._client.max_inflight_messages_set(1000)
        self._client.connect("127.0.0.1", port)
        ready = threading.Event()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.loop_start()
        if filters:
            self._client.subscribe([(f, 1) for f in filters])
            assert ready.wait(10)

    def say(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self._client.publish(topic, payload, 1, retain).wait_for_publish(30)

    def post(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, 1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def ear(mosquitto: Mosquitto) -> Iterator[Ear]:
    made = Ear(mosquitto.port, "edge/v1/+/+/down/confirm")
    yield made
    made.close()


def broker(mosquitto: Mosquitto) -> Broker:
    return Broker("127.0.0.1", mosquitto.port)


def report(device: str, seq: int, **body: object) -> tuple[str, bytes]:
    full = {"outbox": "x", "rss": 9, "populations": {"rooms": {"tick": seq}}} | body
    return DeviceTopics("lab", device).telemetry, messages.encode(Message(full, seq=seq, t=time.time()))


def count(database: Database, table: str = "telemetry") -> int:
    with database.read() as connection:
        return int(sql.one(connection, f"SELECT count(*) FROM {table}"))


@contextlib.contextmanager
def running(*parts: Worker | Registrar) -> Iterator[None]:
    made = Running(*parts)
    try:
        yield
    finally:
        made.stop()


def test_telemetry_is_stored_shown_and_confirmed(database: Database, mosquitto: Mosquitto, ear: Ear) -> None:
    worker = Worker(database, broker(mosquitto))
    with running(worker):
        until(lambda: worker.subscriber.online)
        for seq in (1, 2, 3, 7):
            ear.say(*report("a", seq))
        until(lambda: count(database) == 4)
        until(lambda: bool(ear.heard))
        until(lambda: devices.one(database, "lab", "a")["rss"] == 9)
    confirmed: set[int] = set()
    for topic, payload in ear.heard:
        body = messages.decode(payload).body
        bodies.check(bodies.CONFIRM, body, topic)
        assert (topic, body["outbox"]) == (DeviceTopics("lab", "a").confirm, "x")
        confirmed |= {n for first, last in body["ranges"] for n in range(first, last + 1)}
    assert confirmed == {1, 2, 3, 7}
    with database.read() as connection:
        assert sql.one(connection, "SELECT counters FROM counters").replace(" ", "") == '{"tick":7}'


def test_what_can_not_be_taken_is_kept_aside_and_stops_nothing(
    database: Database, mosquitto: Mosquitto, ear: Ear
) -> None:
    worker = Worker(database, broker(mosquitto))
    with running(worker):
        until(lambda: worker.subscriber.online)
        topic = DeviceTopics("lab", "a").telemetry
        ear.say(topic, b"noise")
        ear.say("edge/v1/lab/a b/up/telemetry", report("a", 1)[1])
        ear.say(topic, bytes(3 * 1024 * 1024))
        ear.say(*report("a", 1))
        until(lambda: count(database) == 1)
    with database.read() as connection:
        reasons = [row[0] for row in sql.run(connection, "SELECT reason FROM rejected ORDER BY id")]
    assert len(reasons) == 3
    assert "'a b'" in reasons[1]
    assert "3145" in reasons[2]
    assert (worker.counters.rejected, worker.counters.stored) == (3, 1)


def test_what_arrives_while_a_worker_is_away_waits_at_the_broker(
    database: Database, mosquitto: Mosquitto, ear: Ear
) -> None:
    worker = Worker(database, broker(mosquitto))
    with running(worker):
        until(lambda: worker.subscriber.online)
    for seq in range(1, 101):
        ear.say(*report("a", seq))
    with running(Worker(database, broker(mosquitto))):
        until(lambda: count(database) == 100)


def test_a_broker_that_is_killed_is_waited_for(database: Database, mosquitto: Mosquitto) -> None:
    worker = Worker(database, broker(mosquitto))
    with running(worker):
        for round_ in range(3):
            until(lambda: worker.subscriber.online)
            ear = Ear(mosquitto.port)
            ear.say(*report("a", round_ + 1))
            until(lambda expected=round_ + 1: count(database) == expected)
            ear.close()
            mosquitto.kill()
            until(lambda: not worker.subscriber.online)
            mosquitto.start()


def test_a_database_that_is_stopped_is_waited_for_and_nothing_is_acknowledged_meanwhile(
    mosquitto: Mosquitto, ear: Ear
) -> None:
    from edge_hub.database.migrate import migrate

    server = PostgreSQL()
    server.start()
    try:
        database = Database(server.new_database())
        migrate(database)
        worker = Worker(database, broker(mosquitto))
        with running(worker):
            until(lambda: worker.subscriber.online)
            ear.say(*report("a", 1))
            until(lambda: count(database) == 1)
            server.stop(signal.SIGQUIT)
            for seq in range(2, 52):
                ear.say(*report("a", seq))
            until(lambda: worker.counters.retries > 1)
            assert worker.database_away
            assert worker.counters.stored == 1
            server.start()
            until(lambda: worker.counters.stored == 51)
        assert count(database) == 51
        assert not worker.database_away
        database.close()
    finally:
        server.remove()


WORKER = """
import asyncio, sys
from edge_hub.database.engine import Database
from edge_hub.broker import Broker
from edge_hub.ingest.worker import Worker
asyncio.run(Worker(Database(sys.argv[1]), Broker("127.0.0.1", int(sys.argv[2])), "lab", "g").run())
"""


def test_workers_of_a_group_share_the_load_and_one_that_is_killed_leaves_its_share_to_the_other(
    database: Database, data: str, mosquitto: Mosquitto, ear: Ear
) -> None:
    """The devices here repeat what is not confirmed, as real ones with ``confirm`` do."""
    command = [sys.executable, "-c", WORKER, data, str(mosquitto.port)]
    workers = [subprocess.Popen(command) for _ in range(2)]
    try:
        wanted = {(device, seq) for device in "abc" for seq in range(1, 301)}
        confirmed: set[tuple[str, int]] = set()

        def listen() -> None:
            while ear.heard:
                topic, payload = ear.heard.pop(0)
                for first, last in messages.decode(payload).body["ranges"]:
                    confirmed.update((topic.split("/")[3], n) for n in range(first, last + 1))

        killed = False
        end = time.monotonic() + 90
        while not wanted <= confirmed:
            assert time.monotonic() < end
            for device, seq in sorted(wanted - confirmed)[:200]:
                ear.post(*report(device, seq))
            time.sleep(0.3)
            listen()
            if confirmed and not killed:
                os.kill(workers[0].pid, signal.SIGKILL)
                killed = True
        assert killed
        assert count(database) == 900
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def birth(device: str, online: bool = True, version: str = "1.0") -> tuple[str, bytes]:
    body = bodies.birth(online, device, version, "boot", "pi4b-1gb", {"rooms": ("ab" * 32, 20)})
    return DeviceTopics("lab", device).birth, messages.encode(Message(body, t=time.time()))


def test_every_retained_birth_is_in_the_registry(database: Database, mosquitto: Mosquitto, ear: Ear) -> None:
    names = [f"d{n:04}" for n in range(3000)]
    for name in names[:-1]:
        ear._client.publish(*birth(name), 1, True)
    ear.say(*birth(names[-1]), retain=True)
    ear.say(
        DeviceTopics("lab", "d0001").reported,
        messages.encode(Message({"version": 5, "populations": {}})),
        True,
    )
    ear.say("edge/v1/lab/bad/up/birth", b"noise", True)
    with running(Registrar(database, broker(mosquitto))):
        until(lambda: len(devices.numbers_of(database, [], 0.0)) == 3000)
        until(lambda: devices.one(database, "lab", "d0001")["reported"].get("version") == 5)
        ear.say(*birth("d0002", online=False), retain=True)
        until(lambda: not devices.one(database, "lab", "d0002")["online"])
    row = devices.one(database, "lab", "d0003")
    assert (row["online"], row["version"], row["profile"], row["agents"]) == (True, "1.0", "pi4b-1gb", 20)
    assert row["populations"] == [{"name": "rooms", "bundle": "ab" * 32, "size": 20, "counters": {}}]
    assert count(database, "rejected") == 1


def test_what_a_device_says_again_after_something_else_counts(
    database: Database, mosquitto: Mosquitto
) -> None:
    registrar, topic = Registrar(database, broker(mosquitto)), DeviceTopics("lab", "a").reported

    def said(version: int) -> Publish:
        payload = messages.encode(Message({"version": version, "populations": {}}))
        return Publish(topic.encode(), payload, 1, False)

    registrar.store([said(1)])
    registrar.store([said(2), said(1)])
    assert devices.one(database, "lab", "a")["reported"]["version"] == 1


def test_one_of_two_registrars_writes_and_the_other_follows_it(
    database: Database, mosquitto: Mosquitto, ear: Ear
) -> None:
    first, second = Registrar(database, broker(mosquitto)), Registrar(database, broker(mosquitto))
    with running(second):
        with running(first):
            until(lambda: first._subscriber.online or second._subscriber.online)
            ear.say(*birth("a"), retain=True)
            until(lambda: devices.one(database, "lab", "a") is not None)
            assert not (first._subscriber.online and second._subscriber.online)
        until(lambda: second._subscriber.online)
        ear.say(*birth("b"), retain=True)
        until(lambda: devices.one(database, "lab", "b") is not None)


def test_a_device_without_a_birth_is_counted(database: Database, mosquitto: Mosquitto, ear: Ear) -> None:
    telemetry.note_latest(database, telemetry.Numbers(), {("lab", "a"): (1.0, 1.0, 1)}, {})
    registrar = Registrar(database, broker(mosquitto))
    registrar._count_unborn()
    assert registrar.unborn == 1


def test_a_broker_that_refuses_is_named_and_asked_again(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    closed = Mosquitto(folder, ("allow_anonymous false",))
    closed.start()
    with running(Worker(database, broker(closed))):
        until(lambda: "refused: not authorized" in caplog.text)
    closed.stop()


def test_the_command_takes_in_until_it_is_ended_and_tells_the_gaps(
    data: str, mosquitto: Mosquitto, ear: Ear, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ingest", "--data", data]) == 2
    assert "run: edge-hub migrate" in capsys.readouterr().err
    assert main(["migrate", "--data", data]) == 0
    assert "schema missing →" in capsys.readouterr().out
    words = ["ingest", "--data", data, "--json", "--broker", f"127.0.0.1:{mosquitto.port}"]
    command = [sys.executable, "-m", "edge_hub.cli", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    database = Database(data)
    until(lambda: bool(leases.holder(database, "registrar")))
    ear.say(*birth("a"), retain=True)
    until(lambda: devices.one(database, "lab", "a") is not None)
    for seq in (1, 2, 5):
        ear.say(*report("a", seq))
    until(lambda: count(database) == 3)
    process.terminate()
    out, _ = process.communicate(timeout=30)
    (row,) = map(json.loads, out.splitlines())
    assert (process.returncode, row["device"], row["messages"], row["gaps"]) == (0, "a", 3, 2)
    until(lambda: bool(ear.heard))
    database.close()


def test_one_place_to_store_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest"]) == 2
    assert "either --data or" in capsys.readouterr().err
