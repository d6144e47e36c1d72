"""The soak's hub: PostgreSQL, a service that rolls out and watches, and two workers that take telemetry in.

Each is a process of its own and may be killed at any time; a question that finds nobody is asked again until
somebody answers. The second worker is never killed: its memory has the whole time to grow in.
"""

from __future__ import annotations

import re
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from benchmarks.hub_processes import HubProcesses
from edge_agent.errors import PlatformError
from edge_agent.testing.free_ports import free_port
from edge_hub.database import sql
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.testing.postgresql import PostgreSQL

READY_S = 60.0
ROLLOUT_S = 600.0
SERVICE, WORKERS = "hub's service", ("hub's worker 1", "hub's worker 2")
SPARED = WORKERS[1]
RULE = "soak-silence"
SILENT = {"field": "silence", "limit": 3, "for_s": 0, "recover_s": 2, "wait_s": 0, "group": "device"}
GATES = {"shadow_seconds": 1, "trial_seconds": 1, "steps": 100, "missed_rate": 1}


class Stored(NamedTuple):
    """What the telemetry of a database is: messages, their bytes, and what they take with indexes."""

    messages: int
    payload: int
    size: int


def end(processes: Mapping[str, subprocess.Popen[bytes]], seconds: float) -> dict[str, int]:
    """End processes in good order; return their exit codes (-9: did not end in time)."""
    for process in processes.values():
        process.terminate()
    codes = {}
    for name, process in processes.items():
        try:
            codes[name] = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            codes[name] = process.wait()
    return codes


class Hub:
    """The hub's processes for one fleet, in ``folder``; ``key`` signs."""

    def __init__(self, folder: Path, broker: int, fleet: str, key: Path) -> None:
        folder.mkdir()
        self.started_again = 0
        """Processes that had ended by themselves."""
        self._fleet = fleet
        self._server = PostgreSQL()
        self._port = free_port()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}/api/v1", timeout=30)
        self._server.start()
        self._database = Database(self._server.new_database())
        migrate(self._database)
        common = ["--data", self._database.name, "--broker", f"127.0.0.1:{broker}"]
        listen = ["--listen", f"127.0.0.1:{self._port}", "--state", str(folder / "state")]
        commands = {
            SERVICE: ["serve", *common, *listen, "--no-ingest", "--sign", str(key)],
            **{name: ["ingest", *common, "--group", "soak"] for name in WORKERS},
        }
        self.processes = HubProcesses(commands, folder / "log")

    def start(self) -> None:
        """Start all, log in, and make the rule whose alerts the verdict counts."""
        self.processes.start(SERVICE)
        self._wait(self.ready, "the hub did not get ready")
        for name in WORKERS:
            self.processes.start(name)
        self._wait(self._setup_code, "the hub printed no link")
        body = {"code": self._setup_code(), "user": "soak", "password": "a password for a soak"}
        self._client.headers["X-CSRF-Token"] = self.ask("POST", "/setup", json=body)["csrf"]
        self.ask("PUT", f"/alerts/rules/{RULE}", json=SILENT)

    def start_again(self) -> None:
        """Start whatever ended by itself, as its unit does: at its start a process needs the database."""
        for name, process in self.processes.running.items():
            if process.poll() is not None:
                self.started_again += 1
                self.processes.start(name)

    def restart_database(self, pause_s: float) -> None:
        """Take PostgreSQL away for some seconds."""
        self._server.stop()
        time.sleep(pause_s)
        self._server.start()

    def ready(self) -> bool:
        """Whether the service can work."""
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """Return what the service answers, asked again while it or its database is away.

        Raises
        ------
        PlatformError
            It refuses, or stays away.
        """
        end, said = time.monotonic() + READY_S, ""
        more["headers"] = {"Idempotency-Key": uuid.uuid4().hex}  # an answer may be lost after it was done
        while time.monotonic() < end:
            try:
                answer = self._client.request(method, path, **more)
            except httpx.TransportError as error:
                said = str(error)
            else:
                if answer.status_code < 400:
                    return answer.json()
                said = answer.text
                if answer.status_code != 503:
                    break
            time.sleep(0.2)
        raise PlatformError(f"hub: {method} {path}: {said[:500]}")

    def deploy(self, path: Path) -> str:
        """Roll a bundle out in two waves; return how that ended.

        Raises
        ------
        PlatformError
            It did not end.
        """
        bundle = self.ask("POST", "/bundles", content=path.read_bytes())["digest"]
        plan = {"fleet": self._fleet, "bundle": bundle, "population": "rooms", "gates": GATES}
        plan |= {"canary": "10%,100%", "approve": True, "patience_s": ROLLOUT_S}
        id_ = self.ask("POST", "/rollouts", json=plan)["id"]
        ended = ("done", "stopped", "aborted")
        self._wait(lambda: self._status(id_) in ended, f"rollout {id_} did not end", 2 * ROLLOUT_S)
        return self._status(id_)

    def stored(self, device: str) -> list[dict[str, Any]]:
        """Return what is stored of a device and what is missing, an entry an outbox."""
        found: list[dict[str, Any]] = self.ask("GET", f"/devices/{self._fleet}/{device}")["gaps"]
        return [row for row in found if row["messages"]]

    def newest(self, device: str) -> float:
        """Return when the newest telemetry of a device was taken, by its clock; 0.0 for none."""
        found = self.ask("GET", f"/devices/{self._fleet}/{device}")["t"]
        return float(found or 0.0)

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts of the soak's rule."""
        found: list[dict[str, Any]] = self.ask("GET", "/alerts", params={"limit": 500})
        return [alert for alert in found if alert["rule"] == RULE]

    def telemetry(self) -> Stored:
        """Return what telemetry takes in the database."""
        size = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('telemetry')"
        with self._database.read() as connection:
            return Stored(
                int(sql.one(connection, "SELECT count(*) FROM telemetry")),
                int(sql.one(connection, "SELECT coalesce(sum(length(body)), 0) FROM telemetry")),
                int(sql.one(connection, size)),
            )

    def close(self) -> None:
        """End whatever still runs, and delete the database."""
        self.processes.kill_all()
        self._client.close()
        self._database.close()
        self._server.remove()

    def _setup_code(self) -> str:
        found = re.search(r"/setup#(\S+)", self.processes.log())
        return found[1] if found else ""

    def _status(self, id_: str) -> str:
        return str(self.ask("GET", f"/rollouts/{id_}")["status"])

    def _wait(self, condition: Callable[[], object], otherwise: str, seconds: float = READY_S) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise PlatformError(f"{otherwise} in {seconds:g} s: {self.processes.log()[-1000:]}")
            time.sleep(0.2)
