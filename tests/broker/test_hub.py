import json
import signal
import subprocess
import sys

import pytest

from edge_agent.wire import bodies, messages, topics
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
