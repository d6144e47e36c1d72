"""Start the scale-out set on this machine: ``make scale-out``, ended by Ctrl-C.

Theory of operation. The files of this folder are what each program reads in production; here they are
copied with free ports for theirs (``28...``) and a folder for their paths, and every program is started as
a child process on loopback: PostgreSQL, pgbouncer, a broker for the hub, one broker per fleet with mutual
TLS, HAProxy, Redis, two ingest workers, two web workers, Prometheus, Alertmanager. Each is waited for. A
program that is missing or ends is one line and the end of the others.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from edge_agent.errors import EdgeAgentError, PlatformError
from edge_agent.testing.free_ports import free_port
from edge_agent.wire import signatures
from edge_hub.database import accounts
from edge_hub.database.engine import Database
from edge_hub.domain import secrets
from edge_hub.testing.postgresql import PostgreSQL

HERE = Path(__file__).parent
MAKE_CA = HERE.parents[1] / "tools" / "mosquitto" / "make_ca.sh"
FLEETS = ("east", "west")
PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
WAIT_S = 120.0
DEVICES, WEB, CORE, POSTGRESQL, PGBOUNCER, REDIS = 28883, 28320, 28830, 28432, 28433, 28379
PROGRAMS = (
    "haproxy",
    "pgbouncer",
    "mosquitto",
    "redis-server",
    "prometheus",
    "prometheus-alertmanager",
    "openssl",
)
WORKERS, PROMETHEUS, ALERTMANAGER = (28321, 28322), 28090, 28093


class Stack:
    """All of it.

    Parameters
    ----------
    folder : Path
        For configurations, keys, logs and data; exists.
    devices : mapping of str to sequence of str
        The names of each fleet's devices, which get certificates.
    seconds : int
        Between two looks of Prometheus; an alert fires after a minute of four such.
    """

    def __init__(self, folder: Path, devices: dict[str, list[str]], seconds: int = 15) -> None:
        self.folder, self.devices, self._seconds = folder, devices, seconds
        self.keys = folder / "etc"
        self.public = self.keys / "director.public"
        self.token = ""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[int, int] = {}
        self._ends = ExitStack()

    def port(self, number: int) -> int:
        """Return which port a port of the files is here."""
        if number not in self._ports:
            self._ports[number] = free_port()
        return self._ports[number]

    def start(self) -> None:
        """Start everything and return when it answers.

        Raises
        ------
        PlatformError
            A program is missing, ended, or does not answer.
        """
        found = {name: program(name) for name in PROGRAMS}
        self._make_keys()
        self._start_database(found["pgbouncer"])
        for name in ("core", *FLEETS):
            config = self._placed(f"mosquitto-{name}.conf", f"user {getpass.getuser()}\n")
            self.run(f"mosquitto-{name}", [found["mosquitto"], "-c", str(config)])
        self._wait_for("mosquitto-core", self.port(CORE))
        self.run("haproxy", [found["haproxy"], "-db", "-f", str(self._placed("haproxy.cfg"))])
        self._wait_for("haproxy", self.port(DEVICES))
        self.run("redis", [found["redis-server"], str(self._placed("redis.conf"))])
        self._wait_for("redis", self.port(REDIS))
        self._start_hub()
        alerts = self._placed("alertmanager.yml")
        here = "--web.listen-address=127.0.0.1:"
        self.run(
            "alertmanager",
            [
                found["prometheus-alertmanager"],
                f"--config.file={alerts}",
                f"{here}{self.port(ALERTMANAGER)}",
                f"--storage.path={self.folder}/var/alertmanager",
                "--cluster.listen-address=",
            ],
        )
        self._placed("rules.yml")
        config = self._placed("prometheus.yml")
        self.run(
            "prometheus",
            [
                found["prometheus"],
                f"--config.file={config}",
                f"{here}{self.port(PROMETHEUS)}",
                f"--storage.tsdb.path={self.folder}/var/prometheus",
            ],
        )
        self._wait_for("alertmanager", self.port(ALERTMANAGER))
        self._wait_for("prometheus", self.port(PROMETHEUS))

    def close(self) -> None:
        """End every process, the last one started first."""
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in reversed(self.processes.values()):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._ends.close()

    def database(self) -> str:
        """Return the database's address, through pgbouncer."""
        return f"postgresql://edge@127.0.0.1:{self.port(PGBOUNCER)}/edgehub?prepare=no"

    def client(self) -> httpx.Client:
        """Return a caller of the REST interface, through HAProxy."""
        headers = {"Authorization": f"Bearer {self.token}"}
        base = f"http://127.0.0.1:{self.port(WEB)}/api/v1"
        return httpx.Client(base_url=base, headers=headers, timeout=60)

    def run(self, name: str, command: list[str], **more: Any) -> None:
        """Start a program with a log of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, **more)

    def _make_keys(self) -> None:
        (self.folder / "var").mkdir()
        for fleet in FLEETS:
            words = [MAKE_CA, self.keys, f"{fleet}.hub.example", *self.devices.get(fleet, ())]
            _done([str(word) for word in words])
            for end in ("crt", "key"):
                (self.keys / f"server.{end}").rename(self.keys / f"{fleet}.{end}")
        signatures.save(signatures.generate("director"), self.keys / "director.key").rename(self.public)

    def _start_database(self, pgbouncer: str) -> None:
        server = PostgreSQL()
        self._ends.callback(server.remove)
        server.start()
        self._ports[POSTGRESQL] = server.port
        direct = server.database("edgehub")
        _done([sys.executable, "-m", "edge_hub.cli", "migrate", "--data", direct])
        # Both refuse to run as root, and what they run as can't read a folder of root's.
        config = server.directory / "pgbouncer.ini"
        shutil.copy(self._placed("pgbouncer.ini"), config)
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            as_user = {"user": "nobody", "group": "nogroup"}
            os.chown(config, pwd.getpwnam("nobody").pw_uid, -1)
        self.run("pgbouncer", [pgbouncer, str(config)], cwd=server.directory, **as_user)
        self._wait_for("pgbouncer", self.port(PGBOUNCER))

    def _start_hub(self) -> None:
        broker = f"127.0.0.1:{self.port(CORE)}"
        hub = [sys.executable, "-m", "edge_hub.cli"]
        common = ["--data", self.database(), "--broker", broker, "--group", "hub"]
        for worker in ("1", "2"):
            self.run(f"ingest-{worker}", [*hub, "ingest", *common, "--worker", worker])
        for number in WORKERS:
            listen = ["--listen", f"127.0.0.1:{self.port(number)}", "--proxies", "127.0.0.1"]
            keys = ["--sign", str(self.keys / "director.key"), "--state", str(self.folder / "var" / "hub")]
            channels = ["--channels", f"redis://127.0.0.1:{self.port(REDIS)}"]
            self.run(f"web-{number}", [*hub, "serve", *common, "--no-ingest", *listen, *keys, *channels])
        now = time.time()
        with Database(self.database()) as database, database.write() as connection:
            admin = accounts.add_user(connection, "operator", "admin", "", now)
            self.token = self._add_token(connection, admin, "admin", [], now)
            metrics = self._add_token(connection, admin, "viewer", ["metrics"], now)
        file = self.keys / "metrics.token"
        file.touch(0o600)
        file.write_text(metrics)
        for number in WORKERS:
            self._until(f"web-{number}", lambda number=number: _ready(self.port(number)))  # type: ignore[misc]
        self._until("haproxy", lambda: _ready(self.port(WEB)))

    def _add_token(self, connection: Any, user: int, role: str, scopes: list[str], now: float) -> str:
        token = secrets.make(secrets.TOKEN_PREFIX)
        digest = secrets.digest(token)
        accounts.add_token(connection, role, user, digest, role, scopes, now, now + 30 * 86_400.0)
        return token

    def _placed(self, name: str, more: str = "") -> Path:
        """Copy a file of this folder with this machine's ports and paths."""
        text = (HERE / name).read_text("utf-8")
        text = re.sub(r"\b28\d{3}\b", lambda found: str(self.port(int(found[0]))), text)
        text = text.replace("/etc/edge-hub/scale", str(self.keys))
        text = text.replace("/var/lib/edge-hub/scale", str(self.folder / "var"))
        text = re.sub(r"\b15s\b", f"{self._seconds}s", text)
        text = re.sub(r"\bfor: 1m\b", f"for: {4 * self._seconds}s", text)
        text = re.sub(r"\bgroup_wait: 10s\b", f"group_wait: {self._seconds}s", text)
        place = self.folder / name
        place.write_text(text + more)
        return place

    def _wait_for(self, name: str, port: int) -> None:
        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        self._until(name, listens)

    def _until(self, name: str, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not condition():
            process = self.processes[name]
            if process.poll() is not None:
                raise PlatformError(f"{name} ended with status {process.returncode}: {self._last_line(name)}")
            if time.monotonic() > end:
                raise PlatformError(f"{name}: no answer within {WAIT_S:g} s: {self._last_line(name)}")
            time.sleep(0.1)

    def _last_line(self, name: str) -> str:
        lines = (self.folder / f"{name}.log").read_text("utf-8", "replace").splitlines()
        return lines[-1] if lines else "it said nothing"


def program(name: str) -> str:
    """Return where a program is.

    Raises
    ------
    PlatformError
        It is not installed.
    """
    found = shutil.which(name, path=PATH)
    if found is None:
        raise PlatformError(f"{name} is not installed; install it with: sudo apt-get install {name}")
    return found


def _done(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PlatformError(f"{Path(command[0]).name}: {(done.stderr.splitlines() or ['failed'])[-1]}")


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def main() -> int:
    """Run it until somebody ends it."""
    devices = {fleet: [f"{fleet}-{n}" for n in range(3)] for fleet in FLEETS}
    with tempfile.TemporaryDirectory(prefix="edge-hub-scale-") as folder:
        stack = Stack(Path(folder), devices)
        try:
            stack.start()
            print(
                f"devices  {', '.join(f'{f}.hub.example' for f in FLEETS)} at 127.0.0.1:{stack.port(DEVICES)}"
            )
            print(f"keys     {stack.keys}")
            print(f"hub      http://127.0.0.1:{stack.port(WEB)}/api/v1 with the token {stack.token}")
            print(f"alerts   http://127.0.0.1:{stack.port(ALERTMANAGER)}")
            print(f"figures  http://127.0.0.1:{stack.port(PROMETHEUS)}", flush=True)
            while all(process.poll() is None for process in stack.processes.values()):
                time.sleep(1.0)
            ended = [name for name, process in stack.processes.items() if process.poll() is not None]
            raise PlatformError(f"{ended[0]} ended: {stack._last_line(ended[0])}")
        except EdgeAgentError as error:
            print(f"scale-out: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0
        finally:
            stack.close()


if __name__ == "__main__":
    sys.exit(main())
