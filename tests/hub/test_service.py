"""The service as a process: started, asked, killed; with real daemons, a real broker, both databases."""

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import signatures
from edge_hub.cli import main
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from tests.broker.ending import end_all
from tests.broker.lab import Lab
from tests.hub.service import remote
from tests.support import fan

pytestmark = pytest.mark.broker
PASSWORD = "correct horse battery"
TLS = ("--tls-certificate", "cert", "--tls-key")
GATES = {"shadow_seconds": 1, "trial_seconds": 1, "steps": 15, "missed_rate": 1}


def until(condition: Callable[[], Any], seconds: float = 90.0) -> Any:
    """Wait for other processes; the deadline is for the case that it never happens."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


class Process:
    """``edge-hub serve`` as a process."""

    def __init__(self, folder: Path, data: str, broker: int, *more: str) -> None:
        self.port = free_port()
        self.log = folder / f"serve-{self.port}.log"
        words = ["serve", "--data", data, "--broker", f"127.0.0.1:{broker}", "--state", str(folder / "hub")]
        words += ["--listen", f"127.0.0.1:{self.port}", *more]
        self._command = [sys.executable, "-m", "edge_hub.cli", *words]
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        until(self._lives)

    def _lives(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(self.address + "/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def text(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=30)


@pytest.fixture
def start(tmp_path: Path, data: str, mosquitto: Mosquitto) -> Iterator[Callable[..., Process]]:
    with Database(data) as database:
        migrate(database)
    made: list[Process] = []

    def begin(*more: str) -> Process:
        made.append(Process(tmp_path, data, mosquitto.port, *more))
        made[-1].start()
        return made[-1]

    yield begin
    end_all([process.process for process in made if process.process is not None])


@pytest.fixture
def lab(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, mosquitto.port)
    yield made
    end_all(made.processes.values())


def admin(process: Process, trust: ssl.SSLContext | bool = True) -> httpx.Client:
    """Follow the link that the first start prints."""
    found = re.search(r"/setup#(\S+)", process.text())
    assert found is not None, process.text()
    client = httpx.Client(base_url=f"{process.address}/api/v1", timeout=30, verify=trust)
    answer = client.post("/setup", json={"code": found[1], "user": "ann", "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    client.headers["X-CSRF-Token"] = answer.json()["csrf"]
    return client


def as_operator(process: Process, client: httpx.Client, folder: Path) -> list[str]:
    """Return the options with which a command of an operator asks the process."""
    made = client.post("/tokens", json={"name": "x", "role": "operator"})
    return remote(process.address, made.json()["token"], folder)


def test_from_the_first_start_to_a_device_on_the_list(start: Any, lab: Lab) -> None:
    process = start()
    client = admin(process)
    until(lambda: client.get(process.address + "/readyz").status_code == 200)
    lab.boot("pi1")
    row = until(
        lambda: next(
            (d for d in client.get("/devices").json()["devices"] if d["decisions"] and d["rss"]), None
        )
    )
    assert (row["name"], row["online"], row["populations"], row["agents"]) == ("pi1", True, ["rooms"], 3)
    assert row["rss"] > 10_000_000
    lab.kill("pi1")
    until(lambda: not client.get("/devices").json()["devices"][0]["online"])
    assert process.end() == 0
    assert "Traceback" not in process.text()
    client.close()


def test_a_second_start_offers_no_admin_and_remembers_all(start: Any) -> None:
    first = start()
    client = admin(first)
    client.put("/groups/g", json={"filter": "online"})
    first.kill()
    second = start()
    assert "/setup#" not in second.text()
    again = httpx.Client(base_url=f"{second.address}/api/v1", cookies=client.cookies, timeout=30)
    assert [group["name"] for group in again.get("/groups").json()] == ["g"]
    client.close()
    again.close()


def test_events_arrive_by_both_ways_and_a_lost_stream_goes_on(start: Any, lab: Lab) -> None:
    from websockets.sync.client import connect

    process = start()
    client = admin(process)
    lab.boot("pi1")
    kinds, last = set(), ""
    with client.stream("GET", "/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("id: "):
                last = line.removeprefix("id: ")
            if line.startswith("event: "):
                kinds.add(line.removeprefix("event: "))
            if {"devices", "registry"} <= kinds:
                break
    with client.stream("GET", "/events", headers={"Last-Event-ID": last}) as stream:
        first = next(line for line in stream.iter_lines() if line.startswith(("event: ", ": ")))
        assert first != "event: resync"
    with client.stream("GET", "/events", headers={"Last-Event-ID": "ffffffff-5"}) as stream:
        first = next(line for line in stream.iter_lines() if line.startswith("event: "))
        assert first == "event: resync"
    cookie = f"edge_hub_session={client.cookies['edge_hub_session']}"
    url = process.address.replace("http", "ws") + "/api/v1/events/socket"
    with connect(url, additional_headers={"Cookie": cookie}) as socket:
        events = until(lambda: json.loads(socket.recv(timeout=60)))
        assert events[0]["event"] in ("devices", "registry")
    client.close()


def test_a_command_is_answered_by_the_daemon_that_obeys_it(start: Any, lab: Lab) -> None:
    process = start("--sign", str(lab.key))
    client = admin(process)
    lab.boot("pi1")
    until(lambda: client.get("/devices", params={"filter": "online"}).json()["devices"])
    until(lambda: client.get(process.address + "/readyz").status_code == 200)
    made = client.post("/commands", json={"fleet": "lab", "name": "status"}).json()
    reply = until(lambda: _answered(client, made["id"]))
    assert reply["state"] == "done"
    assert "rooms" in json.dumps(reply["result"])
    made = client.post(
        "/commands",
        json={"fleet": "lab", "name": "set-rate", "arguments": {"population": "no", "rate_hz": 1}},
    ).json()
    reply = until(lambda: _answered(client, made["id"]))
    assert reply["state"] == "failed"
    assert reply["reason"]
    client.close()


def _answered(client: httpx.Client, id_: str) -> Any:
    (reply,) = client.get(f"/commands/{id_}").json()["replies"]
    return reply if reply["state"] != "waiting" else None


def _rollout(client: httpx.Client, bundle: Path, **more: Any) -> str:
    answer = client.post("/bundles", content=bundle.read_bytes())
    assert answer.status_code in (200, 201), answer.text
    plan = {"fleet": "lab", "bundle": answer.json()["digest"], "population": "rooms", "gates": GATES}
    made = client.post(
        "/rollouts", json=plan | {"canary": "30%,100%", "patience_s": 60, "approve": True} | more
    )
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def _ended(client: httpx.Client, id_: str) -> Any:
    found = client.get(f"/rollouts/{id_}").json()
    return found if found["status"] in ("done", "stopped", "aborted") else None


def test_a_rollout_survives_the_service_being_killed_and_ends_on_every_device(start: Any, lab: Lab) -> None:
    first = start("--sign", str(lab.key))
    client = admin(first)
    names = ["pi1", "pi2", "pi3"]
    for name in names:
        lab.boot(name)
    until(lambda: len(client.get("/devices", params={"filter": "online"}).json()["devices"]) == 3)
    id_ = _rollout(client, lab.bundle("second", fan.model()), group="")
    until(lambda: "sent" in str(client.get(f"/rollouts/{id_}").json()["state"]["members"]))
    first.kill()
    second = start("--sign", str(lab.key))
    again = httpx.Client(base_url=f"{second.address}/api/v1", cookies=client.cookies, timeout=30)
    found = until(lambda: _ended(again, id_), 180)
    states = {name: member["state"] for name, member in found["state"]["members"].items()}
    assert (found["status"], states) == ("done", dict.fromkeys(names, "committed"))
    running = again.get("/populations").json()
    until(lambda: [p["bundle"] for p in again.get("/populations").json()] == [found["bundle"]])
    assert running
    client.close()
    again.close()


def test_a_rollout_runs_once_the_owner_of_the_release_key_has_signed(start: Any, lab: Lab) -> None:
    release, public = lab.folder / "release.key", lab.folder / "release.key.pub"
    signatures.save(signatures.generate("release"), release)
    lab.hub_lines = f"release_keys = {[str(public)]}"
    client = admin(process := start("--sign", str(lab.key), "--release-key", str(public)))
    lab.boot("pi1")
    until(lambda: client.get("/devices", params={"filter": "online"}).json()["devices"])
    path = lab.bundle("second", fan.model())
    digest = client.post("/bundles", content=path.read_bytes()).json()["digest"]
    plan = {"fleet": "lab", "bundle": digest, "population": "rooms", "canary": "100%", "gates": GATES}
    id_ = client.post("/rollouts", json=plan).json()["id"]
    assert client.post(f"/rollouts/{id_}/approve").status_code == 409

    service = as_operator(process, client, lab.folder)
    words = ["--fleet", "lab", "--population", "rooms", "--sign", str(release)]
    assert main(["sign", str(path), *words, *service]) == 0
    assert client.post(f"/rollouts/{id_}/approve").status_code == 202
    found = until(lambda: _ended(client, id_), 180)
    assert found["state"]["members"]["pi1"]["state"] == "committed"
    client.close()


def test_who_joins_a_group_gets_what_the_group_has(start: Any, lab: Lab) -> None:
    process = start("--sign", str(lab.key))
    client = admin(process)
    client.put("/groups/all", json={"filter": "fleet=lab"})
    lab.boot("pi1")
    until(lambda: client.get("/devices", params={"filter": "online"}).json()["devices"])
    id_ = _rollout(client, lab.bundle("second", fan.model()), group="all")
    until(lambda: _ended(client, id_), 120)
    lab.boot("pi2")

    def both() -> bool:
        found = client.get(f"/rollouts/{id_}").json()
        states = {name: member["state"] for name, member in found["state"]["members"].items()}
        return states == {"pi1": "committed", "pi2": "committed"} and found["status"] == "done"

    until(both, 120)
    client.close()


def test_two_processes_share_one_database_and_one_runs_the_rollout(start: Any, lab: Lab, data: str) -> None:
    first = start("--sign", str(lab.key))
    client = admin(first)
    second = start("--sign", str(lab.key), "--no-ingest")
    lab.boot("pi1")
    other = httpx.Client(base_url=f"{second.address}/api/v1", cookies=client.cookies, timeout=30)
    until(lambda: other.get("/devices", params={"filter": "online"}).json()["devices"])
    other.headers["X-CSRF-Token"] = client.headers["X-CSRF-Token"]
    id_ = _rollout(other, lab.bundle("second", fan.model()))
    assert until(lambda: _ended(client, id_), 120)["status"] == "done"
    client.close()
    other.close()


def test_a_service_without_a_key_sends_nothing(start: Any, lab: Lab) -> None:
    process = start()
    client = admin(process)
    lab.boot("pi1")
    until(lambda: client.get("/devices").json()["devices"])
    assert client.post("/commands", json={"fleet": "lab", "name": "status"}).status_code == 409
    client.close()


def test_a_broker_that_is_away_is_said_and_waited_for(start: Any, mosquitto: Mosquitto) -> None:
    process = start()
    until(lambda: httpx.get(process.address + "/readyz").status_code == 200)
    mosquitto.kill()
    answer = until(lambda: (a := httpx.get(process.address + "/readyz")).status_code == 503 and a)
    assert "broker" in str(answer.json()["troubles"])
    mosquitto.start()
    until(lambda: httpx.get(process.address + "/readyz").status_code == 200)
    assert process.end() == 0


@pytest.mark.parametrize(
    ("words", "text", "error"),
    [
        ((), "", "--data: found none"),
        (("--data", "x.db", "--tls-key", "k"), "", "expected both or none"),
        (("--data", "x.db", "--listen", "here"), "", "--listen: found 'here'"),
        (("--data", "x.db", "--listen", "here:x"), "", "--listen: found port 'x'"),
        (("--data", "x.db", *TLS, "none"), "", "none: No such file"),
        (("--data", "x.db", *TLS, "open"), "", "open: mode is 0644, expected 0600"),
        (("--data", "x.db", *TLS, "closed"), "", "cert: no usable certificate and key"),
        (("--data", "x.db", "--sign", "hub", "--release-key", "hub.pub"), "", "hub.pub: is a key of --sign"),
        (("--data", "x.db", "--release-key", "hub.pub", "--release-threshold", "2"), "", "found 2 of 1 keys"),
        ((), "data = 3", "data: found 3, expected a text"),
        ((), "nothing = 3", "nothing: found a key that is no option"),
        ((), "no_ingest = 1", "no_ingest: found 1, expected true or false"),
        ((), "x = ", "not TOML"),
    ],
)
def test_what_is_wrong_with_the_options_is_said_in_one_line(
    tmp_path: Path, monkeypatch: Any, capsys: Any, words: tuple[str, ...], text: str, error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "hub.toml"
    config.write_text(text)
    signatures.save(signatures.generate("hub"), tmp_path / "hub")
    for name, mode in (("open", 0o644), ("closed", 0o600)):
        Path(name).touch()
        Path(name).chmod(mode)
    assert main(["serve", "--config", str(config), *words]) == 2
    err = capsys.readouterr().err
    assert error in err
    assert err.count("\n") == 1


def test_the_command_line_counts_more_than_the_file(tmp_path: Path, mosquitto: Mosquitto) -> None:
    port = free_port()
    config = tmp_path / "hub.toml"
    config.write_text(
        f'data = "{tmp_path}/hub.db"\nbroker = "127.0.0.1:{mosquitto.port}"\nlisten = "127.0.0.1:1"\n'
        f'state = "{tmp_path}/hub"\nkeep_days = 3\n'
    )
    words = ["serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen([sys.executable, "-m", "edge_hub.cli", *words], stdout=subprocess.DEVNULL)

    def lives() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    until(lives)
    assert (tmp_path / "hub.db").exists()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) == 0


def test_the_commands_work_through_the_service_too(
    start: Any, lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start("--sign", str(lab.key))
    client = admin(process)
    secret = client.post("/tokens", json={"name": "cli", "role": "operator"}).json()["token"]
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(secret + "\n")
    there = ["--hub", process.address, "--token-file", str(token), "--fleet", "lab", "--json"]
    for name in ("pi1", "pi2"):
        lab.boot(name)
    until(lambda: len(client.get("/devices", params={"filter": "online"}).json()["devices"]) == 2)
    capsys.readouterr()
    assert main(["devices", *there]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["name"], row["online"]) for row in rows] == [("pi1", True), ("pi2", True)]
    assert main(["command", "status", "--to", "pi1", "--answers", "60", *there]) == 0
    (reply,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (reply["device"], reply["ok"]) == ("pi1", True)
    gates = [word for key, value in GATES.items() for word in ("--gate", f"{key}={value}")]
    words = ["deploy", str(lab.bundle("second", fan.model())), "--population", "rooms", *gates]
    assert main([*words, "--canary", "50%,100%", *there]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["status"], last["committed"]) == ("done", 2)
    assert main(["rollout", "status", *there]) == 0
    assert json.loads(capsys.readouterr().out)["rollout"] == last["rollout"]
    assert main(["rollout", "pause", *there]) == 2
    assert "is done; pause is not possible" in capsys.readouterr().err
    token.chmod(0o644)
    assert main(["devices", *there]) == 2
    assert "mode is 0644" in capsys.readouterr().err
    token.chmod(0o600)
    token.write_text("eht_wrong\n")
    assert main(["devices", *there]) == 2
    assert "token" in capsys.readouterr().err
    assert main(["devices", "--hub", "http://127.0.0.1:1", "--token-file", str(token)]) == 1
    assert main(["devices", "--hub", "ftp://x", "--token-file", str(token)]) == 2
    client.close()
