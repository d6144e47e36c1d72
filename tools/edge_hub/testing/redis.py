"""A real Redis for tests: Debian's, a child process on loopback that keeps nothing on disk."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time

from edge_agent.errors import PlatformError
from edge_agent.testing.free_ports import free_port

START_S = 10.0


class Redis:
    """One server process; `address` is what ``--channels`` takes.

    Raises
    ------
    PlatformError
        It is not installed.
    """

    def __init__(self) -> None:
        found = shutil.which("redis-server")
        if found is None:
            raise PlatformError("redis is not installed; install it with: sudo apt-get install redis-server")
        self._program = found
        self.port = free_port()
        self.address = f"redis://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it answers.

        Raises
        ------
        PlatformError
            It ended instead, or does not answer.
        """
        words = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [self._program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        end = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise PlatformError(f"redis does not answer on port {self.port}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
