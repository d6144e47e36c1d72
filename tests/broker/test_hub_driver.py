"""Ten daemons as processes, a hub and a real broker: signed commands, rollouts, and bad bundles."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from edge_agent.wire import bundle, documents, messages, signatures
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub import connection
from edge_hub.cli import parser
from tests.broker.conftest import until
from tests.broker.lab import Lab, last_line, rows, wait_for
from tests.support import fan

pytestmark = pytest.mark.broker


def test_ten_devices_take_a_good_bundle_and_one_canary_stops_a_bad_one(lab: Lab, capsys: Any) -> None:
    names = [f"pi{n}" for n in range(10)]
    for name in names:
        lab.boot(name)
    wait_for(lab, capsys, 10)

    assert lab.deploy(lab.bundle("bad", fan.model(fan.NEVER_BAD, 1.0))) == 1
    last = last_line(capsys)
    assert (last["status"], last["wave"], last["failed"], last["waiting"]) == ("stopped", 1, 1, 9)
    ((canary, reason),) = last["failures"].items()
    assert reason.startswith("shadowing: contradiction_rate ")

    good = lab.bundle("good", fan.model(fan.SEEN, 1.5))
    assert lab.deploy(good) == 0
    last = last_line(capsys)
    assert (last["status"], last["committed"]) == ("done", 10)

    digest = bundle.read(good).digest
    assert [p.name for p in (lab.folder / canary / "state" / "bundles").iterdir()] == [f"{digest}.eab"]
    lab.kill(canary)
    lab.boot(canary)
    wait_for(lab, capsys, 10)
    assert "the configured bundles run" not in lab.log(canary)
    capsys.readouterr()
    assert lab.hub("command", "status", "--sign", str(lab.key), "--json") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [a["result"]["populations"]["rooms"]["bundle"] for a in answers] == [digest] * 10


def test_a_bundle_that_fails_its_golden_vectors_never_runs(lab: Lab, capsys: Any) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    assert (
        lab.deploy(lab.bundle("wrong", fan.model(fan.SEEN, 0.1), tested=fan.model(fan.SEEN[::-1], 3.0))) == 1
    )
    (reason,) = last_line(capsys)["failures"].values()
    assert "golden" in reason
    assert list((lab.folder / "pi" / "state" / "bundles").iterdir()) == []


def test_a_committed_bundle_that_the_disk_damaged_gives_way_to_the_configured_one(
    lab: Lab, capsys: Any
) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    good = lab.bundle("good", fan.model(fan.SEEN, 1.5))
    assert lab.deploy(good) == 0
    lab.kill("pi")
    (kept,) = (lab.folder / "pi" / "state" / "bundles").iterdir()
    kept.write_bytes(kept.read_bytes()[:-100] + bytes(100))
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    capsys.readouterr()
    assert lab.hub("command", "status", "--sign", str(lab.key), "--json") == 0
    running = last_line(capsys)["result"]["populations"]["rooms"]["bundle"]
    assert running == bundle.read(lab.first).digest
    assert "the configured bundles run" in lab.log("pi")


def test_commands_are_obeyed_once_and_strangers_never(lab: Lab, capsys: Any) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)

    def ask(name: str, *words: str, key: Path = lab.key, wait: str = "10") -> dict[str, Any]:
        capsys.readouterr()
        arguments = [word for argument in words for word in ("--argument", argument)]
        lab.hub("command", name, "--sign", str(key), "--json", "--wait", "0.3", "--answers", wait, *arguments)
        return last_line(capsys)

    assert ask("status")["result"]["hub"]["commands"]["run"] == 1
    assert ask("reset")["result"] == {"agents": 3}
    assert ask("set-rate", 'population="rooms"', "rate_hz=5")["result"] == {"rate_hz": 5.0}
    assert "rate_hz: found -1" in ask("set-rate", 'population="rooms"', "rate_hz=-1")["reason"]
    assert ask("record", "on=false")["result"] == {"recording": False}
    assert ask("record", "on=true")["result"] == {"recording": True}
    window = ask("replay-window", 'agent="rooms-1"', "last=2")["result"]
    assert window["observation"] == [["800.. ppm"]] * 2
    assert ask("reload")["result"] == {"asked": True}

    stranger = lab.folder / "stranger.key"
    signatures.save(signatures.generate("stranger"), stranger)
    assert ask("reset", key=stranger, wait="0.5")["reason"] == "no answer"

    topics = DeviceTopics("lab", "pi")
    secret = signatures.load_secret(lab.key)

    def document(id_: str, ahead: float) -> bytes:
        body = {"fleet": "lab", "device": "pi", "id": id_, "name": "reset", "expires": time.time() + ahead}
        return messages.encode(Message(documents.signed(body, documents.COMMAND, [secret])))

    def wanted(version: int, ahead: float = 60.0, by: signatures.SecretKey = secret) -> bytes:
        body = {"fleet": "lab", "device": "pi", "version": version, "issued": 0.0}
        signed = documents.signed(body | {"expires": time.time() + ahead}, documents.DESIRED, [by])
        return messages.encode(Message(signed))

    newest = wanted(5)
    refused = [wanted(4), wanted(9, by=signatures.load_secret(stranger)), wanted(9, -60.0)]
    arguments = parser().parse_args(["devices", "--broker", f"127.0.0.1:{lab.port}"])
    with connection.Connection(arguments, ()) as link:
        once = document("once", 60.0)
        for payload in (once, once, once, document("late", -60.0), b"nonsense"):
            link.publish(topics.command, payload)
        for payload in (newest, refused[0], refused[1], newest, refused[2]):
            link.publish(topics.desired, payload, retain=True)
    hub = ask("status")["result"]["hub"]
    assert hub["commands"] == {"run": 10, "repeated": 2, "refused": 1, "forged": 2}
    found = hub["desired"]
    assert (found["version"], found["adopted"], found["refused"]) == (5, 1, 3)
    assert hub["refused"] == "expired"
    until(lambda: rows(lab, capsys)["pi"]["refused"] == {"version": 9, "reason": "expired"})
