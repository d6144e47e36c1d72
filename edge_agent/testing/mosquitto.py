"""A real Mosquitto for tests and benchmarks: a child process on a free port of this machine's loopback.

It is started with a configuration of its own and nothing of the system's, can be killed and started again on
the same port with its retained messages and sessions kept, and is found or missed with one clear line.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from edge_agent.errors import PlatformError
from edge_agent.testing.free_ports import free_port


def executable() -> str:
    """Return the path of Mosquitto.

    Raises
    ------
    PlatformError
        It is not installed.
    """
    found = shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
    if found is None:
        raise PlatformError("mosquitto is not installed; install it with: sudo apt-get install mosquitto")
    return found


class Mosquitto:
    """One broker process.

    Parameters
    ----------
    directory : Path
        For its configuration and persistence; must exist.
    lines : sequence of str
        More lines of ``mosquitto.conf``: limits, ACLs, TLS. Default: anyone may do anything.
    within : sequence of str
        Words in front of the command, e.g. those that run it in a network namespace.
    """

    host = "127.0.0.1"

    def __init__(
        self, directory: Path, lines: Sequence[str] = ("allow_anonymous true",), within: Sequence[str] = ()
    ) -> None:
        self._command = [*within, executable()]
        self.port = free_port()
        self.directory = directory
        self._process: subprocess.Popen[str] | None = None
        self._config = directory / "mosquitto.conf"
        fixed = [
            f"listener {self.port} {self.host}",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "log_type information",
            "connection_messages false",
            "set_tcp_nodelay true",
            "persistence true",
            f"persistence_location {directory}/",
            "user root",
        ]
        self._config.write_text("\n".join([*fixed, *lines]) + "\n", encoding="utf-8")

    @property
    def pid(self) -> int:
        """Its process."""
        if self._process is None:
            raise PlatformError("mosquitto is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it and return when it listens.

        Raises
        ------
        PlatformError
            It ended instead; the message is its last line.
        """
        self._process = process = subprocess.Popen(
            [*self._command, "-c", str(self._config)],
            stdout=subprocess.DEVNULL,  # who waits for the end of ours need not wait for the broker's
            stderr=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.kill)  # a program that ends by an error leaves no broker behind
        stderr = process.stderr
        last = "it said nothing"
        while stderr is not None and (line := stderr.readline()):
            last = line.strip()
            if last.endswith("running"):
                threading.Thread(target=stderr.read, daemon=True).start()
                return
        raise PlatformError(f"mosquitto ended with status {process.wait()}: {last}")

    def kill(self) -> None:
        """SIGKILL: no goodbye, nothing saved that was not."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: it saves and says goodbye."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            while process.poll() is None:
                process.send_signal(number)  # again and again: Mosquitto misses it just before its main loop
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
            if process.stderr is not None:
                process.stderr.close()
