import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.wire import bundle, messages, signatures
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub import connection
from edge_hub.archive import Archive
from edge_hub.cli import main, parser
from tests.broker.ending import end_all

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
        return self.hub("deploy", str(path), *gates, *signing, "--patience", "60", *words)


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


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        os.sched_yield()


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
    words += ["--gate", "shadow_seconds=0.6", "--gate", "trial_seconds=0.6", "--gate", "steps=10"]
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
    deploy += ["--gate", "trial_seconds=0.3", "--gate", "steps=50", "--patience", "60"]

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


def test_workers_share_the_load_and_one_that_is_killed_costs_nothing(
    lab: Lab, capsys, tmp_path: Path
) -> None:
    database = tmp_path / "t.db"
    shared = ["ingest", str(database), "--json", "--group", "g"]
    for worker in ("1", "2"):  # the broker knows both sessions from now on
        assert lab.hub(*shared, "--worker", worker, "--for", "0.3") == 0

    def start(worker: str) -> subprocess.Popen[str]:
        words = [*shared, "--worker", worker, "-v", "--broker", f"127.0.0.1:{lab.port}", "--fleet", "lab"]
        command = [sys.executable, "-m", "edge_hub.cli", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def stored() -> int:
        archive = Archive(database)
        rows = archive.gaps()
        archive.close()
        return rows[0]["messages"] if rows else 0

    topic = DeviceTopics("lab", "pi").telemetry
    numbers = [n for n in range(1, 1001) if n != 500] + [600] * 10
    arguments = parser().parse_args(["devices", "--broker", f"127.0.0.1:{lab.port}"])
    workers = {name: start(name) for name in ("1", "2")}
    with connection.Connection(arguments, ()) as link:
        for number in numbers:
            link.post(topic, messages.encode(Message({"outbox": "x", "rss": number}, seq=number)))
            if number == 300:
                workers["1"].kill()
                workers["1"].communicate()
        workers["1"] = start("1")
        until(lambda: stored() == 999)
    shares = []
    for worker in workers.values():
        worker.terminate()
        out, err = worker.communicate(timeout=10)
        (row,) = [json.loads(line) for line in out.splitlines()]
        assert (row["messages"], row["last"], row["gaps"]) == (999, 1000, 1)
        shares.append(int(re.search(r"worker \d: (\d+) stored", err)[1]))
    assert min(shares) > 100


def test_telemetry_is_ingested_once_and_without_gaps(lab: Lab, capsys, tmp_path: Path) -> None:
    words = ["ingest", str(tmp_path / "t.db"), "--json", "--group", "g"]
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
