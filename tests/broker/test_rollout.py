import contextlib
import itertools
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.adapters.mqtt import MqttSettings, PahoClient
from edge_agent.adapters.outbox_sqlite import SqliteOutboxStore
from edge_agent.adapters.system_clock import SystemClock
from edge_agent.protocol.outbox import Outbox, OutboxSettings
from edge_agent.protocol.ports import Publication, Subscription
from edge_agent.protocol.session import Session, SessionSettings
from edge_agent.wire import bundle, messages, signatures
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub import connection
from edge_hub.archive import Archive
from edge_hub.cli import main, parser
from tests.broker.conftest import until
from tests.broker.ending import end_all
from tests.support.session_loop import SessionLoop

pytestmark = pytest.mark.broker
PROCESS = Path(__file__).with_name("device_process.py")
OLD = "b" * 64
LONG = os.environ.get("EDGE_AGENT_FAULTS") == "long"


class Lab:
    """A fleet of processes, a hub's keys, and bundles that do well or badly by what their manifest says."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.folder = port, folder
        self.key = folder / "hub.key"
        self.public = signatures.save(signatures.generate("hub"), self.key)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def boot(self, name: str) -> None:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        words = [sys.executable, str(PROCESS), str(self.port), name, str(home), str(self.public), OLD]
        self.processes[name] = subprocess.Popen(words)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def bundle(self, name: str, contradictions: float, size: int = 300_000) -> Path:
        path = self.folder / f"{name}.eab"
        manifest = {
            "name": name,
            "version": "1",
            "kind": "pomdp",
            "created": 0,
            "source_sha256": "",
            "io": {},
            "memory": {},
            "evaluation": {"contradiction_rate": contradictions},
            "requires": {},
        }
        bundle.write(path, manifest, {"A.npy": bytes(size)}, signatures.load_secret(self.key))
        return path

    def hub(self, *words: str) -> int:
        return main([*words, "--broker", f"127.0.0.1:{self.port}", "--fleet", "lab"])

    def deploy(self, path: Path, *words: str) -> int:
        gates = ["--gate", "shadow_seconds=0.3", "--gate", "trial_seconds=0.3", "--gate", "steps=50"]
        signing = ["--sign", str(self.key), "--state", str(self.folder / "hub"), "--json"]
        return self.hub("deploy", str(path), *gates, *signing, "--patience", "240", *words)


@pytest.fixture
def lab(mosquitto, tmp_path: Path) -> Iterator[Lab]:
    folder = tmp_path / "lab"
    folder.mkdir()
    lab = Lab(mosquitto.port, folder)
    yield lab
    end_all(lab.processes.values())


def rows(lab: Lab, capsys) -> dict[str, dict]:
    capsys.readouterr()
    assert lab.hub("devices", "--json", "--wait", "0.5") == 0
    return {row["device"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}


def wait_for(lab: Lab, capsys, count: int) -> None:
    for _ in range(60):
        if sum(row["online"] for row in rows(lab, capsys).values()) == count:
            return
    raise TimeoutError


def test_a_bad_bundle_stops_at_the_canary_and_rolls_itself_back_and_a_good_one_goes_through(
    lab: Lab, capsys
) -> None:
    names = [f"pi{n}" for n in range(10)]
    for name in names:
        lab.boot(name)
    wait_for(lab, capsys, 10)

    assert lab.deploy(lab.bundle("bad", 0.5), "--canary", "10%,50%,100%") == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["status"], last["wave"], last["failed"], last["waiting"]) == ("stopped", 1, 1, 9)
    (reason,) = last["failures"].values()
    assert "contradiction_rate" in reason
    stages = {n: row["rollouts"].get("rooms", {}).get("stage") for n, row in rows(lab, capsys).items()}
    assert sorted(stages.values(), key=str) == [None] * 9 + ["rolled-back"]

    good = lab.bundle("good", 0.0)
    assert lab.deploy(good, "--canary", "10%,50%,100%") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["status"], last["committed"]) == ("done", 10)
    for name in names:
        lab.kill(name)
        kept = json.loads((lab.folder / name / "follower.json").read_text())
        assert kept["active"] == {"rooms": bundle.read(good).digest}


def test_power_cuts_in_the_middle_do_not_keep_a_bundle_from_arriving(lab: Lab, capsys) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    path = lab.bundle("large", 0.0, 3_000_000)
    words = [sys.executable, "-m", "edge_hub.cli", "deploy", str(path), "--sign", str(lab.key)]
    words += ["--gate", "shadow_seconds=4", "--gate", "trial_seconds=4", "--gate", "steps=10"]
    words += ["--state", str(lab.folder / "hub"), "--canary", "100%", "--json"]
    words += ["--broker", f"127.0.0.1:{lab.port}", "--fleet", "lab"]
    kept = lab.folder / "pi" / "follower.json"
    part = lab.folder / "pi" / f"{bundle.read(path).digest}.part"
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None
        until(part.exists)
        lab.kill("pi")  # while fetching
        size = part.stat().st_size
        lab.boot("pi")
        for stage in ("shadowing", "trial"):
            until(lambda stage=stage: f'"stage": "{stage}"' in kept.read_text("utf-8"))
            lab.kill("pi")
            lab.boot("pi")
        lines = [json.loads(line) for line in hub.stdout]
        assert hub.wait(60) == 0
    assert lines[-1]["status"] == "done"
    assert size == path.stat().st_size
    assert not part.exists()
    assert json.loads(kept.read_text("utf-8"))["rollouts"]["rooms"]["trials"] == 2


def test_a_hub_that_was_killed_goes_on_where_it_was(lab: Lab, capsys) -> None:
    for name in ("pi0", "pi1", "pi2"):
        lab.boot(name)
    wait_for(lab, capsys, 3)
    path = lab.bundle("large", 0.0, 3_000_000)
    words = ["--sign", str(lab.key), "--state", str(lab.folder / "hub"), "--json"]
    words += ["--broker", f"127.0.0.1:{lab.port}", "--fleet", "lab"]
    deploy = ["deploy", str(path), "--canary", "30%,100%", "--wait", "0.3", "--gate", "shadow_seconds=0.3"]
    deploy += ["--gate", "trial_seconds=0.3", "--gate", "steps=50", "--patience", "240"]

    def begun(count: int) -> bool:
        return len(list(lab.folder.glob("pi*/*.part")) + list(lab.folder.glob("pi*/*.eab"))) >= count

    # While the canary fetches; in the long form in the second wave too.
    for command, count in ((deploy, 1), (["rollout", "resume"], 2))[: 2 if LONG else 1]:
        with subprocess.Popen([sys.executable, "-m", "edge_hub.cli", *command, *words]) as hub:
            until(lambda count=count: begun(count))
            hub.kill()
    assert lab.hub("rollout", "status", *words[2:5]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["status"] == "running"
    assert lab.hub("rollout", "resume", *words[:5]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["status"], last["wave"], last["committed"], last["failures"]) == ("done", 2, 3, {})


def test_commands_are_signed_and_answered(lab: Lab, capsys) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    signing = ["--sign", str(lab.key), "--json"]
    assert lab.hub("command", "status", *signing) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["device"] == "pi"
    assert answer["result"]["ticks"] > 0
    stranger = lab.folder / "stranger.key"
    signatures.save(signatures.generate("stranger"), stranger)
    assert lab.hub("command", "reset", "--sign", str(stranger), "--answers", "0.5") == 1
    assert "no answer" in capsys.readouterr().out
    assert lab.hub("command", "dance", *signing) == 1
    assert "no command" in capsys.readouterr().out


def test_rollouts_can_be_looked_at_and_unknown_ones_are_named(lab: Lab, capsys) -> None:
    state = ["--state", str(lab.folder / "hub")]
    assert lab.hub("rollout", "status", *state) == 2
    assert "not known here" in capsys.readouterr().err
    assert lab.deploy(lab.bundle("good", 0.0), "--to", "nobody") == 2
    assert "no device fits" in capsys.readouterr().err


class Worker:
    """A process of ``edge-hub ingest`` in group ``g``."""

    def __init__(self, lab: Lab, database: Path, name: str) -> None:
        words = ["ingest", str(database), "--json", "--group", "g", "--worker", name, "-v"]
        command = [sys.executable, "-m", "edge_hub.cli", *words, "--broker", f"127.0.0.1:{lab.port}"]
        self.process = subprocess.Popen(
            [*command, "--fleet", "lab"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[list[dict], int]:
        """Return its rows and how many it stored itself."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=30)
        return [json.loads(line) for line in out.splitlines()], int(
            re.search(r"worker \d: (\d+) stored", err)[1]
        )


class Sender:
    """A device with 1,000 measurements on its disk, which waits for the hub's confirmation."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        topics = DeviceTopics("lab", "sender")
        self.store = SqliteOutboxStore(folder / "outbox.db", lambda: None)
        settings = OutboxSettings(flush_seconds=0.05, confirm=True, confirm_seconds=1.0)
        self.outbox = Outbox(settings, topics.telemetry, self.store)
        self.session = Session(
            SessionSettings(backoff_base=0.1, backoff_cap=0.5),
            lambda _: Publication(topics.birth, b"", retain=True),
            [Subscription(topics.confirm)],
            random.Random(0),
        )
        wake = threading.Event()
        client = PahoClient(MqttSettings("127.0.0.1", "sender", lab.port), wake.set)
        self.pump = SessionLoop(self.session, client, SystemClock(), wake)
        for value in range(1000):
            self.outbox.append({"rss": value}, time.time(), time.monotonic())
        self.pump.start()

    def until(self, condition: Callable[[], bool]) -> None:
        """Work as the daemon's loop does, until ``condition`` holds."""

        def worked() -> bool:
            for _ in self.pump.history:
                self.outbox.online()
            for token in self.pump.delivered:
                self.outbox.delivered(token)
            for message in self.pump.messages:
                self.outbox.confirmed(message.payload)
            for done in (self.pump.history, self.pump.delivered, self.pump.messages):
                done.clear()
            self.pump.perform(self.outbox.advance(self.session, time.monotonic(), time.time()))
            return condition()

        end = time.monotonic() + 120
        while not worked():
            assert time.monotonic() < end
            with contextlib.suppress(TimeoutError):
                self.pump.until(lambda: bool(self.pump.delivered or self.pump.messages), 0.05)


def test_of_two_workers_one_may_be_killed_and_every_message_is_stored_once(lab: Lab, tmp_path: Path) -> None:
    database = tmp_path / "t.db"

    def stored() -> int:
        archive = Archive(database)
        rows = archive.gaps()
        archive.close()
        return sum(row["messages"] for row in rows)

    workers = [Worker(lab, database, name) for name in ("1", "2")]
    sender = Sender(lab, tmp_path)
    sender.until(lambda: stored() >= 200)
    workers[0].kill()
    sender.until(lambda: sender.outbox.backlog == 0)  # all of it is confirmed: the device keeps nothing
    assert sender.outbox.counters.delivered >= 1000
    (row,), _ = workers[1].end()
    assert (row["first"], row["last"], row["messages"], row["gaps"]) == (1, 1000, 1000, 0)
    sender.pump.stop()


def test_a_worker_that_is_away_holds_nothing_back(lab: Lab, tmp_path: Path) -> None:
    database, topic = tmp_path / "t.db", DeviceTopics("lab", "pi").telemetry
    arguments = parser().parse_args(["devices", "--broker", f"127.0.0.1:{lab.port}"])
    numbers = itertools.count(1)

    def send() -> None:
        link.publish(topic, messages.encode(Message({"outbox": "x"}, seq=next(numbers))))

    def stored() -> int:
        archive = Archive(database)
        rows = archive.gaps()
        archive.close()
        return rows[0]["messages"] if rows else 0

    def takes() -> bool:
        before = stored()
        send()
        return stored() > before

    with connection.Connection(arguments, ()) as link:
        away = Worker(lab, database, "1")
        until(takes)
        away.kill()
        there = Worker(lab, database, "2")
        until(takes)
        first = next(numbers)
        for _ in range(100):
            send()
        until(lambda: takes() and held(database, first + 1, first + 100) == 100)
    there.end()


def held(database: Path, first: int, last: int) -> int:
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as file:
        (count,) = file.execute(
            "SELECT count(*) FROM telemetry WHERE seq BETWEEN ? AND ?", (first, last)
        ).fetchone()
    return int(count)


def test_telemetry_is_ingested_once_and_without_gaps(lab: Lab, capsys, tmp_path: Path) -> None:
    words = ["ingest", str(tmp_path / "t.db"), "--json"]
    assert lab.hub(*words, "--for", "0.3") == 0  # the session is known to the broker from now on
    for _ in range(3):
        lab.boot("pi")
        wait_for(lab, capsys, 1)
        lab.kill("pi")
    lab.boot("pi")
    capsys.readouterr()
    assert lab.hub(*words, "--for", "3") == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["gaps"] == 0
    assert row["messages"] == row["last"] - row["first"] + 1 > 10
