"""Brokers and daemons in separate processes."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from edge_agent.testing.mosquitto import Mosquitto
from tests.broker.ending import PATIENCE, end_all
from tests.broker.lab import Lab
from tests.support import fan, loop_wake


@pytest.fixture(params=[False, True], ids=["thread", "loop"])
def each_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test with paho's own thread, and with the client of the daemon's loop."""
    monkeypatch.setattr(loop_wake, "on_loop", request.param)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    brokers: list[Mosquitto] = []

    def make(*lines: str) -> Mosquitto:
        directory = tmp_path / f"broker{len(brokers)}"
        directory.mkdir()
        brokers.append(Mosquitto(directory, lines))
        brokers[-1].start()
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.stop()


CONFIG = """
[device]
name = "dev"
fleet = "lab"
state_dir = "state"
socket = "s"
telemetry_s = 0.2
{device}
[recorder]
path = "recording"
[broker]
host = "127.0.0.1"
port = {port}
home_assistant = "homeassistant"
[[population]]
name = "rooms"
bundle = "fan.eab"
size = {size}
agents = "room-{{index}}"
step = "arrival"
rate_hz = 50
tick = "arrival"
[[population.observe]]
modality = "co2"
topic = "z/{{agent}}"
pointer = "/co2"
wakes = true
silence = "unchanged"
[[population.act]]
control = "fan"
topic = "z/{{agent}}/set"
template = '{{{{"fan": "{{value}}"}}}}'
safe = "off"
"""


def run_edge_agent(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_agent", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for another process; the deadline is for the case that it never happens."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


STATES = ("online", "waiting", "connecting")


class Device:
    """A daemon in ``folder``, and an ear at the broker."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.heard: list[tuple[str, bytes]] = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _c, _u, m: self.heard.append((m.topic, m.payload))
        topics = [("z/+/set", 0), ("edge/v1/#", 0), ("homeassistant/#", 0)]
        self.client.on_connect = lambda client, *_: client.subscribe(topics)  # again when it had to reconnect
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(PATIENCE)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str] = (), online: bool = True) -> None:
        command = command or [sys.executable, "-m", "edge_agent", "run", "--config", "device.toml"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stderr=log)
        until(lambda: self.status().get("broker", {}).get("state", "") in (["online"] if online else STATES))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_edge_agent(self.folder, *arguments)

    def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        try:
            until(condition, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status()}\n{self.log()[-4000:]}") from None

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def status(self) -> dict[str, Any]:
        done = self.command("status", "--socket", "s", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def said(self, topic: str) -> list[bytes]:
        return [payload for where, payload in self.heard if where == topic]

    def drive(self, room: int, co2: int, fan: str, seconds: float = PATIENCE) -> None:
        """Repeat a reading until it has convinced the room's agent."""
        wanted = b'{"fan": "%s"}' % fan.encode()

        def convinced() -> bool:
            self.client.publish(f"z/room-{room}", b'{"co2": %d}' % co2)
            return self.said(f"z/room-{room}/set")[-1:] == [wanted]

        self.until(convinced, seconds)

    def hang_up(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=2.0)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        end_all([] if self.process is None else [self.process])
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def device(tmp_path: Path, mosquitto: Any) -> Iterator[Device]:
    fan.write(tmp_path / "fan.eab", fan.model())
    (tmp_path / "device.toml").write_text(CONFIG.format(port=mosquitto.port, size=3, device=""))
    made = Device(tmp_path, mosquitto.port)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a bundle and a configuration, for commands without a broker."""
    fan.write(tmp_path / "fan.eab", fan.model())
    (tmp_path / "device.toml").write_text(CONFIG.format(port=1883, size=3, device=""))
    return tmp_path


@pytest.fixture
def edge_agent() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command: (folder, *arguments)."""
    return run_edge_agent


@pytest.fixture
def lab(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Lab]:
    """Daemons that obey a hub."""
    made = Lab(tmp_path, mosquitto.port)
    yield made
    end_all(made.processes.values())
