"""The hub as a service beside the demo: ``edge-hub serve`` with one file, asked by its REST interface."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from edge_agent.errors import PlatformError
from edge_agent.testing.free_ports import free_port
from fleet import FLEET, HOST, PROGRAMS

START_S = 60.0


class HubService:
    """A hub; `address` is where it answers."""

    def __init__(self, directory: Path, port: int) -> None:
        self.address = f"http://{HOST}:{(own := free_port())}/"
        self._log = directory / "hub.log"
        words: list[str | Path] = ["serve", "--data", directory / "hub.db", "--state", directory / "hub"]
        words += ["--broker", f"{HOST}:{port}", "--listen", f"{HOST}:{own}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([PROGRAMS / "edge-hub", *words], stdout=log, stderr=log)

    def __enter__(self) -> HubService:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def messages(self) -> dict[str, int]:
        """Return how many messages of each device it has stored.

        Raises
        ------
        PlatformError
            It did not start.
        """
        with httpx.Client(base_url=f"{self.address}api/v1", timeout=30) as client:
            body = {"code": self._code(), "user": "demo", "password": "a password for a minute"}
            client.post("/setup", json=body).raise_for_status()
            rows: list[dict[str, Any]] = client.get("/devices").json()["devices"]
            found = {row["name"]: client.get(f"/devices/{FLEET}/{row['name']}").json() for row in rows}
        return {name: sum(row["messages"] for row in device["gaps"]) for name, device in found.items()}

    def _code(self) -> str:
        end = time.monotonic() + START_S
        while not (found := re.search(r"/setup#(\S+)", self._log.read_text("utf-8"))):
            if self._process.poll() is not None or time.monotonic() > end:
                lines = self._log.read_text("utf-8").splitlines() or ["it said nothing"]
                raise PlatformError(f"the hub did not start: {lines[-1]}")
            time.sleep(0.05)
        return found[1]
