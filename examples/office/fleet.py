"""Starts the processes of the demo: a broker, three devices, and the hub.

The broker is Mosquitto if it is installed, otherwise amqtt (MQTT 3.1.1 only).
Everything listens on loopback and keeps its files in the demo's own directory; each process writes its log
there.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from edge_agent.config.peer_records import ObjectiveConfig, RoleConfig, objective
from edge_agent.errors import PlatformError
from edge_agent.protocol.peers.objectives import Objective
from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto

HOST = "127.0.0.1"
FLEET = "office"
PATIENCE_S = 30.0
HEARTBEAT_S = 2.0
PROGRAMS = Path(sys.executable).parent

DEVICE_TOML = """\
[device]
name = "{name}"
fleet = "{fleet}"
profile = "generic"
state_dir = "{name}"
socket = "{name}.sock"
telemetry_s = 1.0

[broker]
host = "{host}"
port = {port}

[peers]                   # the devices are one coalition, and go on without whoever is lost
heartbeat_s = {heartbeat}
pause_s = 0.1
capabilities = ["ventilation"]

[[objective]]
name = "fresh air"
role = [
    {{ name = "first", capability = "ventilation" }},
    {{ name = "second", capability = "ventilation" }},
    {{ name = "third", capability = "ventilation", required = false }},
]

[[population]]            # hundreds of rooms: one message brings the observations of all of them
name = "rooms"
bundle = "office.eab"
size = {bulk}
step = "arrival"
rate_hz = 100.0           # a week in seconds
tick = "arrival"
seed = {seed}
bulk = true

[[population]]            # rooms with a sensor and a fan of their own, as Zigbee2MQTT publishes them
name = "zigbee"
bundle = "office.eab"
size = {single}
agents = "{name}-room-{{index}}"
step = "arrival"
rate_hz = 100.0           # a week in seconds
tick = "arrival"
seed = {seed}
observe = [
    {{ modality = "co2", topic = "zigbee2mqtt/{{agent}}", pointer = "/co2", wakes = true }},
    {{ modality = "light", topic = "zigbee2mqtt/{{agent}}", pointer = "/illuminance", wakes = true }},
    {{ modality = "temperature", topic = "zigbee2mqtt/{{agent}}", pointer = "/temperature", wakes = true }},
    {{ modality = "humidity", topic = "zigbee2mqtt/{{agent}}", pointer = "/humidity", wakes = true }},
    {{ modality = "ventilation", topic = "zigbee2mqtt/{{agent}}", pointer = "/fan_mode" }},
]

[[population.act]]
control = "ventilation"
topic = "zigbee2mqtt/{{agent}}/set"
template = '{{{{"fan_mode": "{{value}}"}}}}'
dwell_s = 0.0
"""


@contextlib.contextmanager
def broker(directory: Path) -> Iterator[tuple[str, int]]:
    """Run a broker in ``directory``; yield its name and port."""
    directory.mkdir()
    try:
        mosquitto = Mosquitto(directory)
    except PlatformError:
        yield from _amqtt(directory)
        return
    mosquitto.start()
    try:
        yield "Mosquitto", mosquitto.port
    finally:
        mosquitto.stop()


def _amqtt(directory: Path) -> Iterator[tuple[str, int]]:
    port = free_port()
    config = directory / "amqtt.yaml"
    config.write_text(
        f"listeners:\n  default:\n    type: tcp\n    bind: {HOST}:{port}\n"
        "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n",
        encoding="ascii",
    )
    with (directory / "amqtt.log").open("w") as log:
        process = subprocess.Popen([PROGRAMS / "amqtt", "-c", config], stdout=log, stderr=log)
        try:
            await_port(port, process)
            yield "amqtt", port
        finally:
            process.terminate()
            process.wait()


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when somebody listens on ``port``.

    Raises
    ------
    PlatformError
        ``process`` ended instead, or nobody does in time.
    """
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
            return
        time.sleep(0.05)
    raise PlatformError(f"port {port}: nobody listens after {PATIENCE_S:.0f} s")


class Device:
    """One device: a configuration, and the daemon that runs it.

    Parameters
    ----------
    directory : Path
        Holds ``office.eab``; configuration, state and log go there.
    name : str
        Name of the device.
    port : int
        Of the broker.
    bulk, single : int
        Rooms that are observed together, and one by one.
    seed : int
        Seed of the populations.
    """

    def __init__(self, directory: Path, name: str, port: int, bulk: int, single: int, seed: int) -> None:
        self.name = name
        self._config = directory / f"{name}.toml"
        self._socket = directory / f"{name}.sock"
        self._log_path = directory / f"{name}.log"
        self._log: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        text = DEVICE_TOML.format(
            name=name,
            fleet=FLEET,
            host=HOST,
            port=port,
            bulk=bulk,
            single=single,
            seed=seed,
            heartbeat=HEARTBEAT_S,
        )
        self._config.write_text(text, encoding="utf-8")

    def __enter__(self) -> Device:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGKILL)

    def objective(self) -> Objective:
        """Return what the devices do together, as their configuration has it."""
        (entry,) = tomllib.loads(self._config.read_text(encoding="utf-8"))["objective"]
        roles = tuple(RoleConfig(**role) for role in entry["role"])
        return objective(ObjectiveConfig(name=entry["name"], role=roles))

    def start(self) -> None:
        """Start the daemon; it connects in its own time."""
        self._log = self._log_path.open("a")
        self._process = subprocess.Popen(
            [PROGRAMS / "edge-agent", "run", "--config", self._config], stdout=self._log, stderr=self._log
        )

    def await_online(self) -> None:
        """Return when the daemon is at the broker.

        Raises
        ------
        PlatformError
            It ended, or is not there in time.
        """
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(PlatformError):
                if self.status()["broker"]["state"] == "online":
                    return
            time.sleep(0.1)
        raise PlatformError(f"{self.name}: not at the broker after {PATIENCE_S:.0f} s; see {self._log_path}")

    def kill(self) -> None:
        """SIGKILL: the daemon can neither say goodbye nor save anything."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; return the exit status."""
        return self._end(signal.SIGTERM)

    def status(self) -> dict[str, Any]:
        """Return what ``edge-agent status --json`` says.

        Raises
        ------
        PlatformError
            The daemon does not answer; the message ends with the last line of its log.
        """
        asked = subprocess.run(
            [PROGRAMS / "edge-agent", "status", "--socket", self._socket, "--json"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        if asked.returncode:
            log = self._log_path.read_text(errors="replace").splitlines()
            raise PlatformError(
                f"{self.name}: {asked.stderr.strip()}; its log ends: {log[-1] if log else ''}"
            )
        status: dict[str, Any] = json.loads(asked.stdout)
        return status

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        status = process.wait(timeout=PATIENCE_S)
        if self._log is not None:
            self._log.close()
        return status


class Hub:
    """``edge-hub watch``: as JSON lines into a file, and live in the terminal where there is one."""

    def __init__(self, directory: Path, port: int, live: bool) -> None:
        self._path = directory / "hub.jsonl"
        command = [PROGRAMS / "edge-hub", "watch", "--broker", f"{HOST}:{port}", "--fleet", FLEET]
        self._file = self._path.open("w")
        self._watching = [subprocess.Popen([*command, "--json"], stdout=self._file)]
        if live:
            self._watching.append(subprocess.Popen(command))

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._watching:
            process.terminate()
        for process in self._watching:
            process.wait(timeout=PATIENCE_S)
        self._file.close()

    def lines(self) -> list[dict[str, Any]]:
        """Return what it wrote."""
        return [json.loads(line) for line in self._path.read_text().splitlines()]


def run_program(program: str, *arguments: str | Path) -> None:
    """Run one of our programs, its output on ours.

    Raises
    ------
    subprocess.CalledProcessError
        It failed; what is wrong it said itself.
    """
    subprocess.run([PROGRAMS / program, *arguments], check=True)


def fresh_directory(path: Path) -> Path:
    """Make ``path`` anew, empty."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
