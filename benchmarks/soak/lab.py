"""What is abused: three daemons, a Mosquitto, the hub's ingest and its rollouts, each a process of its own.

The daemons keep telemetry until the hub has confirmed it, so that not even a broker that forgets loses any.
Bundles: ``first`` is configured; ``good-0`` and ``good-1`` are as good and take turns; ``bad`` contradicts
what its agents see and has to be refused by a canary.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edge_agent import Model
from edge_agent.adapters.control import ask
from edge_agent.errors import PlatformError
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import bundle, signatures
from edge_hub.archive import Archive
from tests.support import fan

DEVICES = ("pi1", "pi2", "pi3")
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
[hub]
keys = ["{key}"]
confirm = true
[[population]]
name = "rooms"
bundle = "{bundle}"
size = {rooms}
agents = "room-{{index}}"
rate_hz = 10
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
GATES = ("shadow_seconds=1", "trial_seconds=1", "steps=100", "missed_rate=1")


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
        self.database = folder / "telemetry.db"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._ingest: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start everything, the hub first: its session is known to the broker before any telemetry comes."""
        self.broker.start()
        subprocess.run(
            [*self._hub("ingest", str(self.database)), "--json", "--for", "1"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self._ingest = subprocess.Popen(self._hub("ingest", str(self.database)), stdout=subprocess.DEVNULL)
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
        with (home / "log").open("ab") as log:
            environment = os.environ | {"PYTHONOPTIMIZE": "2"}
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

    def deploy(self, path: Path) -> int:
        """Roll a bundle out in two waves; return the hub's exit code."""
        words = [word for gate in GATES for word in ("--gate", gate)]
        words += ["--sign", str(self.key), "--state", str(self.folder / "hub"), "--patience", "600", "--json"]
        command = [*self._hub("deploy", str(path)), "--canary", "10%,100%", *words]
        with (self.folder / "deploy.log").open("ab") as log:
            return subprocess.run(command, stdout=log, stderr=log, check=False).returncode

    def stored(self) -> list[dict[str, Any]]:
        """Return what the hub has stored and misses, an entry an outbox."""
        archive = Archive(self.database)
        try:
            return archive.gaps()
        finally:
            archive.close()

    def complete(self, since: float) -> bool:
        """Whether the hub has telemetry of every device from after ``since`` (Unix time), and all before."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=10)) as file:
            newest = dict(file.execute("SELECT device, max(t) FROM telemetry GROUP BY device"))
        recent = all(newest.get(name, 0.0) > since for name in DEVICES)
        return recent and all(row["gaps"] == 0 and row["first"] == 1 for row in self.stored())

    def end_ingest(self) -> None:
        """End the hub's ingest."""
        process, self._ingest = self._ingest, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def end(self) -> dict[str, int]:
        """End the daemons in good order; return their exit codes (-9: did not end in 10 s)."""
        for process in self.daemons.values():
            process.send_signal(signal.SIGTERM)
        codes = {}
        for name, process in self.daemons.items():
            try:
                codes[name] = process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[name] = process.wait()
        return codes

    def close(self) -> None:
        """End whatever still runs."""
        for process in [*self.daemons.values(), *filter(None, [self._ingest])]:
            process.kill()
            process.wait()
        self.broker.kill()

    def _hub(self, *words: str) -> list[str]:
        broker = ["--broker", f"127.0.0.1:{self.broker.port}", "--fleet", FLEET]
        return [sys.executable, "-m", "edge_hub.cli", *words, *broker]

    def _bundle(self, name: str, made: Model) -> Path:
        path = self.folder / f"{name}.eab"
        fan.write(path, made, name, signatures.load_secret(self.key))
        return path


def _state(status: dict[str, Any] | None) -> str:
    return "" if status is None else status["broker"]["state"]
