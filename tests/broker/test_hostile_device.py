"""One device that sends malformed messages, and a healthy one: the hub's commands still serve the healthy
one."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import bodies, messages, signatures
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub import connection
from edge_hub.archive import Archive
from edge_hub.cli import main, parser
from tests.broker.conftest import until
from tests.unit.hub.link import write_bundle

pytestmark = pytest.mark.broker
HOSTILE, HEALTHY = DeviceTopics("lab", "hostile"), DeviceTopics("lab", "healthy")
DEEP = b"\x82\xa1v\x01\xa4body\x81\xa1a" + b"\x91" * 1010 + b"\xc0"


def sealed(body: dict[Any, Any]) -> bytes:
    return msgpack.packb({"v": 1, "seq": 1, "body": body})


ODD: list[tuple[str, bytes]] = [
    (HOSTILE.telemetry, sealed({b"rss": 1})),
    (HOSTILE.telemetry, sealed({msgpack.Timestamp(1): 1})),
    (HOSTILE.telemetry, sealed({"a": msgpack.ExtType(9, b"")})),
    (HOSTILE.telemetry, DEEP),
    (HOSTILE.telemetry, sealed({"populations": {"air": {"tick": float("inf")}}})),
    (HOSTILE.telemetry, sealed({"populations": {"air": {"tick": 2**64 - 1}}})),
    (HOSTILE.telemetry, b"\x82\xa1v\x01\xa4body\x81\xa1a\xa3\xed\xa0\x80"),
    (HOSTILE.telemetry, msgpack.packb({"v": 1, "t": float("nan"), "body": {}})),
    (HOSTILE.telemetry, struct.pack("<d", 1.0)),
    (HOSTILE.birth, sealed({"online": True, "populations": {"air": 7}, 1: 2, b"x": 3})),
    (HOSTILE.birth, sealed({"online": True, 1: 2, "a": 3, None: 4})),
    (HOSTILE.birth, sealed({"online": True, "profile": "x" * 200_000, "populations": {"\x1b[2J" * 60: {}}})),
    (HOSTILE.reported, sealed({"version": 0, "populations": {"air": 7}})),
    (HOSTILE.reported, sealed({"version": 2**64 - 1, "populations": {}})),
    (HOSTILE.reported, sealed({"version": 1, "populations": {}, "rollouts": {"air": 5}})),
    (HOSTILE.reported, sealed({"version": 1, "populations": {}, "refused": {"version": "x"}})),
    (HOSTILE.fetch, sealed({"bundle": "a" * 64, "blocks": [2**63]})),
    (HOSTILE.fetch, sealed({"bundle": "../../etc/passwd", "blocks": [0]})),
    (HOSTILE.reply("1"), sealed({"id": 1, "ok": "yes"})),
    ("edge/v1/lab/a b/up/birth", sealed({"online": True})),
    ("edge/v1/lab/hostile/up/birth/more", b"x"),
]


@pytest.fixture
def hub(mosquitto: Mosquitto, tmp_path: Path) -> list[str]:
    return ["--broker", f"127.0.0.1:{mosquitto.port}", "--fleet", "lab"]


@pytest.fixture
def talk(mosquitto: Mosquitto) -> Iterator[connection.Connection]:
    """The hostile device says everything it has, retained, and goes on; the healthy one is there."""
    arguments = parser().parse_args(["devices", "--broker", f"127.0.0.1:{mosquitto.port}"])
    enough = threading.Event()
    born = bodies.birth(True, "healthy", "1", "b", "p", {"rooms": ("d" * 64, 3)}, rss=30 * 2**20)
    reported = {"version": 0, "populations": {"rooms": {"bundle": "d" * 64, "size": 3}}}
    with connection.Connection(arguments, ()) as link:

        def go_on() -> None:
            rng = random.Random(0)
            while not enough.wait(0.002):
                link.publish(*rng.choice(ODD))

        for topic, payload in ODD:
            link.publish(topic, payload, retain=True)
        link.publish(HEALTHY.birth, messages.encode(Message(born)), retain=True)
        link.publish(HEALTHY.reported, messages.encode(Message(reported)), retain=True)
        thread = threading.Thread(target=go_on)
        thread.start()
        yield link
        enough.set()
        thread.join()


def test_telemetry_of_the_others_is_stored_and_what_is_odd_is_set_aside(
    talk: connection.Connection, hub: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "t.db"
    command = [sys.executable, "-m", "edge_hub.cli", "ingest", str(database), *hub]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:

        def ours() -> dict[str, Any]:
            archive = Archive(database)
            rows = [row for row in archive.gaps() if row["device"] == "healthy"]
            archive.close()
            return rows[0] if rows else {"messages": 0}

        def heard() -> bool:
            talk.publish(HEALTHY.telemetry, messages.encode(Message({"outbox": "x"}, seq=1)))
            return ours()["messages"] == 1

        until(heard)
        for number in range(2, 301):
            talk.publish(HEALTHY.telemetry, messages.encode(Message({"outbox": "x"}, seq=number)))
        until(lambda: ours()["messages"] == 300)
        assert ours()["gaps"] == 0
        assert process.poll() is None
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "messages rejected, the last: " in err
    assert main(["ingest", str(database), "--rejected", "--json"]) == 0
    aside = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["topic"] for row in aside} == {HOSTILE.telemetry}
    assert all(row["reason"] for row in aside)


def without_traceback(words: list[str], status: int) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "edge_hub.cli", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def test_every_command_ends_as_it_should(talk: connection.Connection, hub: list[str], tmp_path: Path) -> None:
    key = tmp_path / "key"
    signatures.save(signatures.generate("hub"), key)
    signing = ["--sign", str(key)]
    out, err = without_traceback(["devices", "--json", *hub], 0)
    (row,) = [row for row in map(json.loads, out.splitlines()) if row["device"] == "healthy"]
    assert (row["online"], row["agents"], row["rss"]) == (True, 3, 30 * 2**20)
    assert "messages rejected, the last: " in err
    assert "30.0" in without_traceback(["devices", *hub], 0)[0]
    without_traceback(["watch", "--json", "--for", "1", *hub], 0)
    without_traceback(["watch", "--for", "1", *hub], 0)
    state = ["--state", str(tmp_path / "hub")]
    wait = ["--answers", "0.3", "--wait", "0.3"]
    out, _ = without_traceback(["command", "status", *signing, *wait, *hub], 1)
    assert "healthy: not done: no answer" in out
    out, _ = without_traceback(["retire", "rooms", "--to", "healthy", *signing, *wait, *state, *hub], 1)
    assert out == "healthy: rooms still there\n"
    without_traceback(["keys", "rotate", "--new", f"{key}.pub", *signing, *state, *hub], 0)
    out, _ = without_traceback(["keys", "send", "--to", "healthy", *signing, *wait, *state, *hub], 1)
    assert out == "healthy: believes rotation 0\n"


def test_a_rollout_goes_its_way(talk: connection.Connection, hub: list[str], tmp_path: Path) -> None:
    key = tmp_path / "key"
    signatures.save(signatures.generate("hub"), key)
    digest = write_bundle(tmp_path / "new.eab")
    words = ["deploy", str(tmp_path / "new.eab"), "--to", "all", "--population", "rooms", "--json", *hub]
    words += ["--sign", str(key), "--state", str(tmp_path / "hub"), "--wait", "0.3", "--max-failures", "1"]
    words += ["--patience", "15", "--canary", "100%", "--min-success", "0.3"]
    command = [sys.executable, "-m", "edge_hub.cli", *words]
    arguments = parser().parse_args(["devices", *hub[:2]])
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        connection.Connection(arguments, (HEALTHY.desired,)) as ear,
    ):
        wait_for(ear, HEALTHY.desired, process)
        reported = {"version": 2**62, "populations": {"rooms": {"bundle": digest, "size": 3}}}
        talk.publish(HEALTHY.reported, messages.encode(Message(reported)), retain=True)
        out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    last = json.loads(out.splitlines()[-1])
    assert last["outcomes"]["healthy"] == {"state": "committed", "reason": "runs the new bundle"}
    assert process.returncode == 0, err


def wait_for(ear: connection.Connection, topic: str, process: subprocess.Popen[str]) -> None:
    until(lambda: any(m.topic == topic for m in ear.messages(0.1)) or process.poll() is not None)
    assert process.poll() is None
