import json
import os
import signal
import subprocess
import sys
import time

import pytest

from edge_agent.wire import bodies, documents, messages, signatures, topics
from edge_agent.wire.messages import Message
from edge_hub import connection
from edge_hub.cli import main, parser

pytestmark = pytest.mark.broker
T = topics.DeviceTopics("lab", "pi")


def arguments(mosquitto, *words: str):
    return parser().parse_args([*words, "--broker", f"127.0.0.1:{mosquitto.port}"])


def birth(online: bool) -> bytes:
    return messages.encode(Message(bodies.birth(online, "pi", "0.1", "b", "p", {"rooms": ("d", 3)})))


def test_devices_lists_what_is_retained(mosquitto, capsys) -> None:
    with connection.Connection(arguments(mosquitto, "devices"), ()) as link:
        link.publish(T.birth, birth(True), retain=True)
    assert main(["devices", "--json", "--wait", "0.2", "--broker", f"127.0.0.1:{mosquitto.port}"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["device"], row["online"], row["agents"]) == ("pi", True, 3)


def test_watch_prints_a_line_for_each_change_and_ends(mosquitto) -> None:
    with connection.Connection(arguments(mosquitto, "devices"), ()) as link:
        link.publish(T.birth, birth(True), retain=True)
        command = [sys.executable, "-m", "edge_hub.cli", "watch", "--json", "--for", "3", "--fleet", "lab"]
        with subprocess.Popen(
            [*command, "--broker", f"127.0.0.1:{mosquitto.port}"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["online"] is True
            body = {"populations": {"rooms": {"tick": 9}}, "rss": 5}
            link.publish(T.telemetry, messages.encode(Message(body, seq=1)))
            assert json.loads(process.stdout.readline())["tick"] == 9
            assert process.wait(10) == 0


@pytest.mark.parametrize("more", [["--json"], [], ["on a terminal"]], ids=["json", "table", "terminal"])
def test_watch_ends_well_when_its_reader_leaves(mosquitto, more: list[str]) -> None:
    command = [sys.executable, "-m", "edge_hub.cli", "watch", "--fleet", "lab"]
    environment = os.environ | ({"FORCE_COLOR": "1"} if more == ["on a terminal"] else {})
    more = [word for word in more if word.startswith("--")]
    with (
        connection.Connection(arguments(mosquitto, "devices"), ()) as link,
        subprocess.Popen(
            [*command, *more, "--broker", f"127.0.0.1:{mosquitto.port}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        ) as process,
    ):
        link.publish(T.birth, birth(True), retain=True)
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        end = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < end:
            link.publish(T.birth, birth(True), retain=True)  # it meets the closed pipe when it prints this
        process.kill()  # if it has not ended
        assert (process.wait(), process.stderr.read()) == (0, b"")


def test_sigterm_ends_it_in_good_order_even_where_sigint_is_ignored(mosquitto) -> None:
    with connection.Connection(arguments(mosquitto, "devices"), ()) as link:
        link.publish(T.birth, birth(True), retain=True)
    command = [sys.executable, "-m", "edge_hub.cli", "watch", "--json", "--fleet", "lab"]
    with subprocess.Popen(
        [*command, "--broker", f"127.0.0.1:{mosquitto.port}"],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(10) == 0


def test_no_broker_is_one_line(capsys) -> None:
    assert main(["devices", "--broker", "127.0.0.1:1"]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err
    assert main(["devices", "--broker", "localhost:x"]) == 2


def test_a_broker_that_refuses_is_one_line(make_mosquitto, tmp_path, capsys) -> None:
    broker = make_mosquitto("allow_anonymous false")
    (tmp_path / "password").write_text("guess\n")
    (tmp_path / "password").chmod(0o600)
    words = ["--username", "tom", "--password-file", str(tmp_path / "password")]
    assert main(["devices", "--broker", f"127.0.0.1:{broker.port}", *words]) == 1
    told = capsys.readouterr().err
    assert told == f"edge-hub: broker 127.0.0.1:{broker.port}: refused: Not authorized\n"


def test_retiring_leaves_a_forged_document_alone_and_says_so(mosquitto, tmp_path, capsys, caplog) -> None:
    signatures.save(signatures.generate("hub"), tmp_path / "key")
    document = {"fleet": "lab", "device": "pi", "version": 1, "issued": 0.0, "expires": 1e12}
    forged = messages.encode(
        Message(documents.signed(document, documents.DESIRED, [signatures.generate("stranger")]))
    )
    reported = {"version": 0, "populations": {"rooms": {"bundle": "b", "size": 3}}}
    with connection.Connection(arguments(mosquitto, "devices"), ()) as link:
        link.publish(T.birth, birth(True), retain=True)
        link.publish(T.reported, messages.encode(Message(reported)), retain=True)
        link.publish(T.desired, forged, retain=True)
    words = ["--sign", str(tmp_path / "key"), "--state", str(tmp_path / "hub"), "--fleet", "lab"]
    words += ["--wait", "0.3", "--answers", "0.1", "--broker", f"127.0.0.1:{mosquitto.port}"]
    assert main(["retire", "rooms", *words]) == 1
    assert capsys.readouterr().out == "pi: rooms still there\n"
    assert "not sent: edge/v1/lab/pi/down/desired: " in caplog.text
    with connection.Connection(arguments(mosquitto, "devices"), (T.desired,)) as link:
        (kept,) = link.messages(5.0)
    assert kept.payload == forged
