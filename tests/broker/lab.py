"""Daemons as processes in folders, a hub and its keys, for tests of what devices obey."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_agent import Model
from edge_agent.wire import signatures
from edge_hub.cli import main
from tests.support import fan

CONFIG = """
[device]
name = "{name}"
fleet = "lab"
state_dir = "state"
socket = "s"
telemetry_s = 1.0
spare_kb = 1024
[recorder]
path = "recording"
[broker]
host = "127.0.0.1"
port = {port}
[hub]
keys = {keys}
threshold = {threshold}
{hub}
[[population]]
name = "rooms"
bundle = "{bundle}"
size = 3
rate_hz = 10
[[population.observe]]
modality = "co2"
source = "file"
path = "{folder}/co2"
[[population.act]]
control = "fan"
topic = "z/{name}/{{agent}}"
"""


class Lab:
    """Daemons in folders of their own, and the hub's key."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.key = folder / "hub.key"
        self.public = signatures.save(signatures.generate("hub"), self.key)
        self.believed = [self.public]
        self.first = self.bundle("first", fan.model())
        self.hub_lines = ""
        """More lines of the section ``hub``."""
        self.sections = ""
        """More sections of the configuration."""
        self.program: Sequence[str] = ("-m", "edge_agent")
        """What Python runs as ``edge-agent``."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def bundle(self, name: str, made: Model, tested: Model | None = None) -> Path:
        path = self.folder / f"{name}.eab"
        fan.write(path, made, name, signatures.load_secret(self.key), tested)
        return path

    def boot(self, name: str) -> None:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        (home / "co2").write_text("1500\n")
        keys, threshold = [str(key) for key in self.believed], len(self.believed)
        text = CONFIG.format(
            name=name,
            port=self.port,
            keys=keys,
            threshold=threshold,
            hub=self.hub_lines,
            bundle=self.first,
            folder=home,
        )
        (home / "device.toml").write_text(text + self.sections)
        command = [sys.executable, *self.program, "run", "--config", "device.toml"]
        with (home / "log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, cwd=home, stderr=log)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> int:
        """Ask a daemon to end, as systemd does, and return its exit code."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(60)

    def hub(self, *words: str) -> int:
        return main([*words, "--broker", f"127.0.0.1:{self.port}", "--fleet", "lab"])

    def deploy(self, path: Path, *more: str, keys: Sequence[Path] = ()) -> int:
        gates = ["shadow_seconds=1", "trial_seconds=1", "steps=15", "missed_rate=1"]
        words = [word for gate in gates for word in ("--gate", gate)]
        words += [word for key in keys or [self.key] for word in ("--sign", str(key))]
        words += ["--state", str(self.folder / "hub"), "--patience", "240", "--wait", "0.3", "--json"]
        return self.hub("deploy", str(path), "--canary", "10%,100%", *words, *more)

    def log(self, name: str) -> str:
        return (self.folder / name / "log").read_text()


def rows(lab: Lab, capsys: Any) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert lab.hub("devices", "--json", "--wait", "0.5") == 0
    return {row["device"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}


def wait_for(lab: Lab, capsys: Any, count: int) -> None:
    end = time.monotonic() + 240  # ten daemons start at once
    while sum(row["online"] for row in rows(lab, capsys).values()) < count:
        assert time.monotonic() < end, "they did not come online"


def last_line(capsys: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found
