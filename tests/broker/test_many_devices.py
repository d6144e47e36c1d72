"""The shipped configuration of Mosquitto with thousands of retained births."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import bodies, messages
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub import connection
from edge_hub.cli import main, parser
from tests.broker.conftest import until

pytestmark = pytest.mark.broker
SCRIPT = Path(__file__).parents[2] / "tools" / "mosquitto" / "make_ca.sh"
COUNT = 3000


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[tuple[Mosquitto, list[str]]]:
    """A broker with every line of tools/mosquitto, and the words that make a hub its client."""
    ca = tmp_path / "ca"
    subprocess.run([SCRIPT, ca, "127.0.0.1", "filler"], check=True, stdout=subprocess.DEVNULL)
    with (ca / "acl").open("a") as acl:  # one certificate speaks for all devices
        acl.write("\nuser filler\ntopic write edge/v1/#\n")
    lines = (ca / "mosquitto.conf").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("listener", "persistence", "user"))]
    broker = Mosquitto(tmp_path, kept)
    broker.start()
    words = ["--broker", f"127.0.0.1:{broker.port}", "--ca", f"{ca}/ca.crt"]
    yield broker, words
    broker.stop()


def of(name: str, words: list[str]) -> list[str]:
    folder = Path(words[-1]).parent
    return [*words, "--certificate", f"{folder}/{name}.crt", "--key", f"{folder}/{name}.key"]


def fill(words: list[str], names: list[str], born: bool = True) -> None:
    with connection.Connection(parser().parse_args(["devices", *of("filler", words)]), ()) as link:
        for name in names:
            body = bodies.birth(True, name, "1", "b", "p", {"rooms": ("d" * 64, 3)})
            link.post(DeviceTopics("lab", name).birth, messages.encode(Message(body)) if born else b"", True)
        until(lambda: not any(link.unsent(DeviceTopics("lab", name).birth) for name in names))


def test_every_device_is_listed_and_one_that_is_missing_is_named(
    shipped: tuple[Mosquitto, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, words = shipped
    names = [f"pi-{n:04}" for n in range(COUNT)]
    fill(words, names)
    hub = ["devices", "--json", "--fleet", "lab", *of("hub", words)]
    assert main(hub) == 0
    told = capsys.readouterr()
    assert [json.loads(line)["device"] for line in told.out.splitlines()] == names
    assert told.err == ""
    fill(words, names[7:9], born=False)
    assert main(hub) == 1
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == COUNT - 2
    assert told.err == "edge-hub: 2 known devices were not heard: lab/pi-0007, lab/pi-0008\n"
    assert main([*hub, "--forget", "pi-000[78]"]) == 0
    assert main(hub) == 0
