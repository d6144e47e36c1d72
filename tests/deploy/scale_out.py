"""The scale-out set on one machine, from Debian's packages: ``make test-deploy``.

Devices connect by TLS through HAProxy, which chooses the broker by the name they ask for; their telemetry
is in PostgreSQL once each, through pgbouncer; a command and a rollout reach both shards; Prometheus reads
the web workers; a device that goes silent is an alert at Alertmanager.
"""

import json
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

from deploy.scale.stack import ALERTMANAGER, DEVICES, FLEETS, PROMETHEUS, Stack
from edge_agent.wire import signatures
from edge_hub.database import sql
from edge_hub.database.engine import Database
from tests.support import fan

ROOT = Path(__file__).parents[2]
GATES = {"shadow_seconds": 1, "trial_seconds": 1, "steps": 100, "missed_rate": 1}
NAMES = [f"d{number:05}" for number in range(3)]


def until(what: str, condition: Callable[[], Any], seconds: float = 180.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("scale"), dict.fromkeys(FLEETS, NAMES), seconds=1)
    try:
        made.start()
        yield made
    finally:
        made.close()


def devices(stack: Stack, fleet: str, server_name: str = "") -> subprocess.Popen[str]:
    """Simulated devices of a fleet, each with its own certificate."""
    words = ["--broker", f"127.0.0.1:{stack.port(DEVICES)}", "--fleet", fleet, "--hub-key", str(stack.public)]
    words += ["--server-name", server_name or f"{fleet}.hub.example", "--ca", str(stack.keys / "ca.crt")]
    words += ["--certificate", str(stack.keys / "{device}.crt"), "--key", str(stack.keys / "{device}.key")]
    words += ["--devices", str(len(NAMES)), "--processes", "1", "--telemetry-s", "1", "--outages", "0"]
    command = [sys.executable, "-m", "benchmarks.fleet", *words, "--lies", "0"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_the_set_carries_two_fleets_to_one_hub(started: Stack) -> None:
    stack = started
    fleets = {fleet: devices(stack, fleet) for fleet in FLEETS}
    with stack.client() as client:

        def online() -> dict[str, int]:
            return {row["fleet"]: row["online"] for row in client.get("/fleets").json()}

        try:
            until("every device is online", lambda: online() == dict.fromkeys(FLEETS, len(NAMES)))
            for fleet in FLEETS:
                _command(client, fleet)
                _rollout(client, stack, fleet)
            until("Prometheus has the figures", lambda: _asked(stack, "edge_fleet_devices") == [3.0, 3.0] * 2)
            until(
                "the web workers share a channel",
                lambda: _asked(stack, "edge_hub_channel_connected") == [1.0] * 2,
            )
            until("no alert", lambda: _alerts(stack) == set())

            victim = fleets["east"]
            victim.kill()  # no goodbye: the broker publishes the wills
            victim.communicate()
            until("an alert", lambda: ("DevicesOffline", "east") in _alerts(stack))
            assert ("DevicesOffline", "west") not in _alerts(stack)

            fleets["west"].send_signal(signal.SIGTERM)
            report = json.loads(fleets["west"].communicate(timeout=180)[0])
        finally:
            for process in fleets.values():
                process.kill()
    assert report["unconfirmed"] == 0, report
    with Database(stack.database()) as database, database.read() as connection:
        query = (
            "SELECT count(*), count(DISTINCT (outbox_id, seq)) FROM telemetry "
            "JOIN devices ON devices.id = device_id WHERE devices.fleet = ?"
        )
        ((stored, different),) = sql.run(connection, query, ("west",))
        rejected = sql.one(connection, "SELECT count(*) FROM rejected")
    assert stored == different == report["sent"] > 0
    assert rejected == 0


def test_a_name_that_no_shard_has_is_not_let_in(started: Stack) -> None:
    trust = ssl.create_default_context(cafile=started.keys / "ca.crt")
    address = f"https://127.0.0.1:{started.port(DEVICES)}"
    for name in ("north.hub.example", "127.0.0.1"):
        with pytest.raises(httpx.ConnectError), httpx.Client(verify=trust) as client:
            client.get(address, extensions={"sni_hostname": name})


def _command(client: httpx.Client, fleet: str) -> None:
    id_ = client.post("/commands", json={"fleet": fleet, "name": "status"}).json()["id"]

    def states() -> list[str]:
        return [reply["state"] for reply in client.get(f"/commands/{id_}").json()["replies"]]

    until("answers to a command", lambda: states() == ["done"] * len(NAMES))


def _rollout(client: httpx.Client, stack: Stack, fleet: str) -> None:
    bundle = stack.folder / f"{fleet}.eab"
    fan.write(bundle, fan.model(preference=2.0), "new", signatures.load_secret(stack.keys / "director.key"))
    digest = client.post("/bundles", content=bundle.read_bytes()).json()["digest"]
    plan = {"fleet": fleet, "bundle": digest, "population": "rooms", "canary": "100%", "gates": GATES}
    id_ = client.post("/rollouts", json=plan | {"approve": True}).json()["id"]

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"/rollouts/{id_}").json()
        return found if found["status"] != "running" else None

    found = until("the rollout has ended", ended)
    members = found["state"]["members"].values()
    assert [member["state"] for member in members] == ["committed"] * len(NAMES), members


def _asked(stack: Stack, query: str) -> list[float]:
    address = f"http://127.0.0.1:{stack.port(PROMETHEUS)}/api/v1/query"
    answer = httpx.get(address, params={"query": query}).json()
    return [float(row["value"][1]) for row in answer["data"]["result"]]


def _alerts(stack: Stack) -> set[tuple[str, str]]:
    answer = httpx.get(f"http://127.0.0.1:{stack.port(ALERTMANAGER)}/api/v2/alerts").json()
    return {(row["labels"]["alertname"], row["labels"].get("fleet", "")) for row in answer}
