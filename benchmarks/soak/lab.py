"""What is abused: three daemons, a Mosquitto and a hub on PostgreSQL, each a process of its own.

The daemons keep telemetry until the hub has confirmed it, so that not even a broker that forgets loses any.
They learn, send what they learned, and announce themselves to Home Assistant. Bundles: ``first`` is
configured; ``good-0`` and ``good-1`` are as good and take turns; ``bad`` contradicts what its agents see and
has to be refused by a canary. The state of one daemon is on a file system of its own, which can be filled
(as root).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.soak.hub import Hub
from edge_agent import Model
from edge_agent.adapters.control import ask
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.errors import PlatformError
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import bundle, signatures
from tests.support import fan

DEVICES = ("pi1", "pi2", "pi3")
FILLED = DEVICES[0]
STATE_MB = 16
ROOMS = 50
FLEET = "soak"
READY_S = 60.0
CONFIG = """
[device]
name = "{name}"
fleet = "{fleet}"
state_dir = "state"
socket = "s"
telemetry_s = 1.0
checkpoint_s = 10.0
[recorder]
path = "recording"
[broker]
host = "127.0.0.1"
port = {port}
home_assistant = "homeassistant"
[hub]
keys = ["{key}"]
confirm = true
[[population]]
name = "rooms"
bundle = "{bundle}"
size = {rooms}
agents = "room-{{index}}"
rate_hz = 10
learn = "population"
learn_every = 600
learn_send_s = 3600
[[population.observe]]
modality = "co2"
topic = "z/{name}/{{agent}}"
pointer = "/co2"
[[population.act]]
control = "fan"
topic = "z/{name}/{{agent}}/set"
template = '{{{{"fan": "{{value}}"}}}}'
safe = "off"
"""


class Lab:
    """Everything that runs, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "broker").mkdir()
        self.broker = Mosquitto(folder / "broker", ("allow_anonymous true", "max_queued_messages 0"))
        self.key = folder / "hub.key"
        self._public = signatures.save(signatures.generate("hub"), self.key)
        self._first = self._bundle("first", fan.model())
        self.good = [self._bundle(f"good-{n}", fan.model(preference=1.5 + n)) for n in range(2)]
        self.bad = self._bundle("bad", fan.model(fan.NEVER_BAD))
        self.bad_digest = bundle.read(self.bad).digest
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.hub = Hub(folder / "hub", self.broker.port, FLEET, self.key)
        self._mounted = False

    def start(self) -> None:
        """Start everything, the hub first: its session is known to the broker before any telemetry comes."""
        self.broker.start()
        self.hub.start()
        state = self.folder / FILLED / "state"
        state.mkdir(parents=True)
        if self.can_fill:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STATE_MB}m", "tmpfs", state], check=True)
            self._mounted = True
        for name in DEVICES:
            self.boot(name)
        for name in DEVICES:
            self.wait_online(name)
        os.kill(self.broker.pid, signal.SIGUSR1)  # save, as every half hour: a kill loses no older session

    def boot(self, name: str) -> None:
        """Start a daemon as its unit does."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        values = {"fleet": FLEET, "port": self.broker.port, "key": self._public, "rooms": ROOMS}
        (home / "device.toml").write_text(CONFIG.format(name=name, bundle=self._first, **values))
        command = [
            sys.executable,
            "-m",
            "edge_agent",
            "run",
            "--config",
            "device.toml",
            "--profile",
            "zero2w",
        ]
        # A board writes bytecode once per release; here it would count as what a minute of work writes.
        environment = os.environ | {"PYTHONOPTIMIZE": "2", "PYTHONDONTWRITEBYTECODE": "1"}
        with (home / "log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(command, cwd=home, stderr=log, env=environment)

    def kill(self, name: str) -> None:
        """Kill a daemon: no goodbye, nothing saved that was not."""
        self.daemons[name].kill()
        self.daemons[name].wait()

    def status(self, name: str) -> dict[str, Any] | None:
        """Ask a daemon; None while nobody answers."""
        try:
            return ask(self.folder / name / "s", {"ask": "status"})
        except PlatformError:
            return None

    def wait_online(self, name: str) -> None:
        """Wait until a daemon is connected.

        Raises
        ------
        PlatformError
            It isn't after a minute.
        """
        self.wait(lambda: _state(self.status(name)) == "online", f"{name} did not come online")

    def wait(self, condition: Any, otherwise: str, seconds: float = READY_S) -> None:
        """Wait for another process, in turns of 0.1 s: time in which this process too stood still is none.

        Raises
        ------
        PlatformError
            It did not happen in time; ``otherwise`` says what.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise PlatformError(
                    f"{otherwise} in {seconds:g} s: {[self.status(name) for name in DEVICES]}"
                )
            time.sleep(0.1)

    @property
    def can_fill(self) -> bool:
        """Whether file systems can be mounted."""
        return os.geteuid() == 0

    def fill(self, seconds: float) -> None:
        """Leave no room on the state's file system of `FILLED` for a while."""
        ballast = self.folder / FILLED / "state" / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)) == 4096:
                pass
        time.sleep(seconds)
        ballast.unlink()

    def stored(self) -> list[dict[str, Any]]:
        """Return what the hub has stored and misses, an entry an outbox."""
        return [row for name in DEVICES for row in self.hub.stored(name)]

    def complete(self, since: float) -> bool:
        """Whether the hub has telemetry of every device from after ``since`` (Unix time), and all before, and
        no alert is open.
        """
        recent = all(self.hub.newest(name) > since for name in DEVICES)
        whole = all(row["gaps"] == 0 and row["first"] == 1 for row in self.stored())
        return recent and whole and all(alert["status"] == "cleared" for alert in self.hub.alerts())

    def close(self) -> None:
        """End whatever still runs."""
        for process in self.daemons.values():
            process.kill()
            process.wait()
        self.hub.close()
        self.broker.kill()
        if self._mounted:
            subprocess.run(["umount", "--lazy", self.folder / FILLED / "state"], check=True)

    def _bundle(self, name: str, plain: Model) -> Path:
        """Write a model that learns."""
        path = self.folder / f"{name}.eab"
        A, B = (
            [10 * np.asarray(t) + 0.1 for t in tensors] for tensors in (plain.arrays().A, plain.arrays().B)
        )
        learns = replace(plain, learning=Concentrations.of(plain, A, B, [np.ones(2)]).stored())
        fan.write(path, learns, name, signatures.load_secret(self.key))
        return path


def _state(status: dict[str, Any] | None) -> str:
    return "" if status is None else status["broker"]["state"]
