"""A real PostgreSQL for tests and benchmarks: Debian's, a child process on loopback, its data in a folder.

PostgreSQL refuses to run as root, so root gives the folder to ``nobody`` and runs it as that user.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from edge_agent.errors import PlatformError
from edge_agent.testing.free_ports import free_port

_USER = "nobody"
_CONFIG = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
shared_buffers = 128MB
jit = off
"""


def programs() -> Path:
    """Return the folder of PostgreSQL's programs.

    Raises
    ------
    PlatformError
        It is not installed.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3])
    which = shutil.which("initdb")
    if not found and which is None:
        raise PlatformError(
            "postgresql is not installed; install it with: sudo apt-get install postgresql-15"
        )
    return found[-1].parent if found else Path(str(which)).parent


class PostgreSQL:
    """One server process; without ``durable`` it writes nothing through to the disk, and a power cut would
    damage it.
    """

    def __init__(self, durable: bool = True) -> None:
        self._programs = programs()
        self._as: dict[str, Any] = {"user": _USER, "group": "nogroup"} if os.geteuid() == 0 else {}
        self.directory = Path(tempfile.mkdtemp(prefix="edge-hub-postgresql-"))
        if self._as:
            os.chown(self.directory, pwd.getpwnam(_USER).pw_uid, -1)
        self.port = free_port()
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None
        words = ["initdb", "-D", "data", "-U", "edge", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._run(*words)
        with (self.directory / "data" / "postgresql.conf").open("a") as file:
            file.write(f"{_CONFIG}port = {self.port}\nfsync = {'on' if durable else 'off'}\n")

    def start(self) -> None:
        """Start it and return when it answers.

        Raises
        ------
        PlatformError
            It ended instead.
        """
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data"],
                cwd=self.directory,
                stderr=log,
                stdout=log,
                **self._as,
            )
        atexit.register(self.remove)
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "5"]
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None:
                last = (self.directory / "log").read_text("utf-8", "replace").splitlines()[-1:]
                raise PlatformError(f"postgresql ended: {''.join(last)}")

    def database(self, name: str) -> str:
        """Make an empty database; return its address, which is what ``--data`` takes."""
        self._run("createdb", *self._here, name)
        return f"postgresql://edge@127.0.0.1:{self.port}/{name}"

    def new_database(self) -> str:
        """As `database`, under a name of its own."""
        self._databases += 1
        return self.database(f"d{self._databases}")

    def drop(self, address: str) -> None:
        """Delete a database, whoever is connected."""
        self._run("dropdb", *self._here, "--force", address.rpartition("/")[2])

    @property
    def pid(self) -> int:
        """The server's first process."""
        if self._process is None:
            raise PlatformError("postgresql is not running")
        return self._process.pid

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT closes connections and saves, SIGQUIT ends at once as a crash does."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(60)

    def remove(self) -> None:
        """End it and delete its folder."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _here(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "edge"]

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self._programs / program, *words],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            **self._as,
        )
        if done.returncode:
            raise PlatformError(f"{program}: {(done.stderr.splitlines() or ['failed'])[-1]}")
