"""The hub as a service, seen from outside: ``make hub-demo``.

Starts a broker, ``edge-hub serve`` with one file, three real daemons and 200 simulated devices; makes the
first admin by the link that the hub prints, sends a command, rolls a bundle out to the daemons, and ends by
itself with a summary from the REST interface. Exit status 0 only if everything happened.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import signatures
from tests.support import fan

DAEMONS = ("kitchen", "bath", "hall")
SIMULATED = 200
SECONDS = 120.0
BROKER = (
    "allow_anonymous true",
    "max_queued_messages 0",
    "max_queued_bytes 0",
    "max_inflight_messages 2000",
)
DEVICE = """
[device]
name = "{name}"
fleet = "home"
state_dir = "state"
socket = "s"
telemetry_s = 1.0
spare_kb = 1024
[broker]
host = "127.0.0.1"
port = {port}
[hub]
keys = ["{key}"]
[[population]]
name = "rooms"
bundle = "{bundle}"
size = 20
rate_hz = 10
[[population.observe]]
modality = "co2"
source = "file"
path = "co2"
[[population.act]]
control = "fan"
topic = "fans/{name}/{{agent}}"
"""


class LateError(Exception):
    """Something did not happen in time."""


def until(what: str, condition: Callable[[], Any]) -> Any:
    """Wait for other processes."""
    end = time.monotonic() + SECONDS
    while not (found := condition()):
        if time.monotonic() > end:
            raise LateError(f"not within {SECONDS:g} s: {what}")
        time.sleep(0.1)
    return found


@contextmanager
def child(words: list[str], folder: Path, log: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of our programs; ended with the demo."""
    with (folder / log).open("ab") as file:
        process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def daemon(stack: ExitStack, folder: Path, name: str, port: int, key: Path, bundle: Path) -> None:
    """Start a real daemon that obeys the hub."""
    home = folder / name
    home.mkdir()
    (home / "co2").write_text("1500\n")
    text = DEVICE.format(name=name, port=port, key=key, bundle=bundle)
    (home / "device.toml").write_text(text)
    stack.enter_context(child(["-m", "edge_agent", "run", "--config", "device.toml"], home, "log"))


def simulated(stack: ExitStack, port: int) -> subprocess.Popen[str]:
    """Start the simulated devices."""
    words = ["--broker", f"127.0.0.1:{port}", "--devices", str(SIMULATED), "--processes", "1"]
    words += ["--telemetry-s", "1", "--outages", "0", "--lies", "0"]
    command = [sys.executable, "-m", "benchmarks.fleet", *words]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    stack.callback(process.kill)
    return process


def ended_fleet(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Let the simulated devices send what they have; return what they say of it."""
    process.terminate()
    found: dict[str, Any] = json.loads(process.communicate(timeout=SECONDS)[0] or "{}")
    return found


def admin(address: str, log: Path) -> httpx.Client:
    """Make the first admin by the link that the hub printed."""
    found = until("the link", lambda: re.search(r"\S+/setup#(\S+)", log.read_text("utf-8")))
    print(f"the hub's one-time link: {found[0]}")
    client = httpx.Client(base_url=f"{address}/api/v1", timeout=30)
    body = {"code": found[1], "user": "demo", "password": "a password for a minute"}
    answer = client.post("/setup", json=body)
    answer.raise_for_status()
    client.headers["X-CSRF-Token"] = answer.json()["csrf"]
    return client


def lives(address: str) -> bool:
    """Whether the hub can work."""
    try:
        return httpx.get(f"{address}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def demo(folder: Path, stack: ExitStack) -> dict[str, bool]:
    """Do it all; return what happened."""
    place = folder / "broker"
    place.mkdir()
    broker = Mosquitto(place, BROKER)
    broker.start()
    stack.callback(broker.stop)
    key = folder / "hub.key"
    public = signatures.save(signatures.generate("demo"), key)
    first, second = folder / "first.eab", folder / "second.eab"
    fan.write(first, fan.model(), "first", signatures.load_secret(key))
    fan.write(second, fan.model(preference=2.0), "second", signatures.load_secret(key))

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    words = ["-m", "edge_hub.cli", "serve", "--data", "hub.db", "--broker", f"127.0.0.1:{broker.port}"]
    words += ["--listen", f"127.0.0.1:{port}", "--sign", str(key), "--state", str(folder / "state")]
    stack.enter_context(child(words, folder, "hub.log"))
    until("the hub", lambda: lives(address))
    client = admin(address, folder / "hub.log")
    stack.callback(client.close)

    for name in DAEMONS:
        daemon(stack, folder, name, broker.port, public, first)
    fleet = simulated(stack, broker.port)

    def known() -> bool:
        fleets = {row["fleet"]: row for row in client.get("/fleets").json()}
        return {name: row["online"] for name, row in fleets.items()} == {"home": 3, "lab": SIMULATED}

    until("every device is known and online", known)
    seen = {"every device is in the registry and online": True}
    command = client.post("/commands", json={"fleet": "home", "name": "status"}).json()
    replies = until("three answers", lambda: _replies(client, command["id"]))
    seen["three daemons answered a signed command"] = all(reply["state"] == "done" for reply in replies)

    digest = client.post("/bundles", content=second.read_bytes()).json()["digest"]
    gates = {"shadow_seconds": 1, "trial_seconds": 1, "steps": 100, "missed_rate": 1, "agreement": 0}
    plan = {"fleet": "home", "bundle": digest, "population": "rooms", "canary": "30%,100%", "gates": gates}
    made = client.post("/rollouts", json=plan | {"approve": True}).json()
    ended = until("the rollout", lambda: _ended(client, made["id"]))
    states = [member["state"] for member in ended["state"]["members"].values()]
    seen["a rollout in two waves committed on three daemons"] = states == ["committed"] * 3

    report = ended_fleet(fleet)
    stored = [
        row
        for device in client.get("/devices?filter=fleet%3Dlab&limit=1000").json()["devices"]
        for row in client.get(f"/devices/{device['fleet']}/{device['name']}").json()["gaps"]
    ]
    seen["the simulated devices' telemetry is stored, and nothing is missing"] = (
        report["unconfirmed"] == 0
        and sum(row["messages"] for row in stored) == report["sent"]
        and not any(row["gaps"] for row in stored)
    )
    seen["the audit's chain holds"] = client.get("/audit/verify").json()["broken"] == 0
    actions = [entry["action"] for entry in client.get("/audit").json()][::-1]
    print(f"the audit: {', '.join(actions)}")
    return seen


def _replies(client: httpx.Client, id_: str) -> list[dict[str, Any]] | None:
    replies: list[dict[str, Any]] = client.get(f"/commands/{id_}").json()["replies"]
    return replies if all(reply["state"] != "waiting" for reply in replies) else None


def _ended(client: httpx.Client, id_: str) -> dict[str, Any] | None:
    found: dict[str, Any] = client.get(f"/rollouts/{id_}").json()
    return found if found["status"] in ("done", "stopped", "aborted") else None


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        try:
            seen = demo(Path(folder), stack)
        except LateError as error:
            print(f"hub-demo: {error}", file=sys.stderr)
            print((Path(folder) / "hub.log").read_text("utf-8")[-2000:], file=sys.stderr)
            return 1
    took = time.monotonic() - begin
    if arguments.json:
        print(json.dumps({"seen": seen, "seconds": round(took, 1)}))
    else:
        for what, happened in seen.items():
            print(f"{'yes' if happened else 'NO '}  {what}")
        print(f"{took:.0f} s")
    return 0 if all(seen.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
