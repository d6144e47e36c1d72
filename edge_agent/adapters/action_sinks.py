"""Sinks for actions besides MQTT: files and programs.

A program must be in the configuration's list. It runs without a shell, for at most ``TIMEOUT_S`` seconds,
with at most ``LIMIT`` programs at a time; further actions are refused. Its output is discarded.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

LIMIT = 8
TIMEOUT_S = 10.0


def write_file(path: Path, text: str) -> bool:
    """Write ``text`` to an existing file (sysfs, a pipe of the user's); return whether it was taken."""
    try:
        with path.open("r+b", buffering=0) as file:
            file.write(text.encode())
    except OSError:
        return False
    return True


class ProgramRunner:
    """Runs allowed programs."""

    def __init__(self, allowed: Sequence[str], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._allowed = frozenset(allowed)
        self._monotonic = monotonic
        self._running: list[tuple[subprocess.Popen[bytes], float]] = []
        self.failed = 0

    def run(self, command: Sequence[str]) -> bool:
        """Start ``command``; return whether it was started."""
        self._reap()
        if command[0] not in self._allowed or len(self._running) >= LIMIT:
            self.failed += 1
            return False
        try:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                close_fds=True,
            )
        except OSError:
            self.failed += 1
            return False
        self._running.append((child, self._monotonic() + TIMEOUT_S))
        return True

    def close(self, seconds: float = 1.0) -> None:
        """Let what runs come to its end for ``seconds`` altogether, then end it."""
        deadline = self._monotonic() + seconds
        for child, _ in self._running:
            try:
                child.wait(max(0.0, deadline - self._monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._running = []

    def _reap(self) -> None:
        now = self._monotonic()
        still = []
        for child, deadline in self._running:
            if child.poll() is None:
                if now >= deadline:
                    child.kill()
                still.append((child, deadline))
            elif child.returncode != 0:
                self.failed += 1
        self._running = still
