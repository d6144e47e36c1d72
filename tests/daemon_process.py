"""A daemon as a process in a folder of its own, for tests against other people's programs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import fan

PATIENCE_S = 45.0
"""Seconds after which what should have happened counts as never happening."""


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait for other processes; the deadline is for the case that it never happens."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


class DaemonProcess:
    """``edge-agent run`` in ``folder``, with the configuration ``text`` and the bundle ``fan.eab``."""

    def __init__(self, folder: Path, text: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        fan.write(folder / "fan.eab", fan.model())
        self.configure(text)

    def configure(self, text: str) -> None:
        """Replace the configuration."""
        (self.folder / "device.toml").write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Start it and return when its broker has taken it."""
        command = [sys.executable, "-m", "edge_agent", "run", "--config", "device.toml"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        until(self.online, "the daemon is online: " + (self.folder / "log").read_text())

    def online(self) -> bool:
        """Return whether it says that it is connected."""
        return bool(self.status().get("broker", {}).get("state") == "online")

    def status(self) -> dict[str, Any]:
        """Return ``edge-agent status``; empty while it does not answer."""
        command = [sys.executable, "-m", "edge_agent", "status", "--socket", "s", "--json"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def hang_up(self) -> None:
        """Let it read its configuration again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(PATIENCE_S) == 0, (self.folder / "log").read_text()
            self._process = None

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
