"""The hub's processes of a benchmark: each can be killed and started again, and all write to one log."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


class HubProcesses:
    """``edge-hub`` commands that run side by side.

    Parameters
    ----------
    commands : mapping of str to sequence of str
        Words after ``edge-hub``, by the name of the process; none runs before `start`.
    log : Path
        Where all write to.
    """

    def __init__(self, commands: Mapping[str, Sequence[str]], log: Path) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        """What was started, also what has ended since."""
        self._commands = commands
        self._log = log

    def start(self, name: str) -> None:
        """Start a process."""
        with self._log.open("ab") as log:
            words = [sys.executable, "-m", "edge_hub.cli", *self._commands[name]]
            self.running[name] = subprocess.Popen(words, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        """SIGKILL: nothing said, nothing stored that was not."""
        self.running[name].kill()
        self.running[name].wait()

    def kill_all(self) -> None:
        """SIGKILL to whatever runs."""
        for name in self.running:
            self.kill(name)

    def log(self) -> str:
        """Return what they have printed."""
        return self._log.read_text("utf-8", "replace")
