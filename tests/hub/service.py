"""A service in this process for tests: a real uvicorn on loopback, and callers of each role."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from edge_agent.testing.free_ports import free_port
from edge_hub.api import app, passwords
from edge_hub.api.hub import Hub
from edge_hub.api.request_limits import TimedRequests
from edge_hub.database import accounts
from edge_hub.database.engine import Database
from edge_hub.domain import secrets

PASSWORD = "correct horse battery"
KEPT = passwords.make(PASSWORD)


def remote(address: str, token: str, folder: Path) -> list[str]:
    """Write a token's file; return the options with which a command asks a service."""
    file = folder / "token"
    file.touch(0o600)
    file.write_text(token)
    return ["--hub", address, "--token-file", str(file)]


class Service:
    """A running service; `client` gives callers."""

    def __init__(self, database: Database, http: type[TimedRequests] = TimedRequests) -> None:
        self.hub = Hub(database)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            app.make(self.hub),
            host="127.0.0.1",
            port=self.port,
            log_level="warning",
            lifespan="on",
            http=http,
        )
        self._server = uvicorn.Server(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)
        self._clients: list[httpx.Client] = []
        self._thread.start()
        end = time.monotonic() + 30
        while not self._server.started:
            assert time.monotonic() < end
            time.sleep(0.01)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._server.serve())
        self._loop.close()

    def call(self, function: Any, *values: Any) -> None:
        """Run a function in the service's loop."""
        self._loop.call_soon_threadsafe(function, *values)

    def add_user(self, name: str, role: str) -> int:
        with self.hub.database.write() as connection:
            return accounts.add_user(connection, name, role, KEPT, time.time())

    def client(self, token: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        made = httpx.Client(base_url=f"{self.address}/api/v1", headers=headers, timeout=30)
        self._clients.append(made)
        return made

    def as_role(self, role: str, scopes: list[str] | None = None, lasts: float = 3600.0) -> httpx.Client:
        """Return a caller with a token."""
        number = self.add_user(f"{role}-{secrets.make()[:8]}", role)
        token, now = secrets.make(secrets.TOKEN_PREFIX), time.time()
        with self.hub.database.write() as connection:
            digest = secrets.digest(token)
            accounts.add_token(connection, "t", number, digest, role, scopes or [], now, now + lasts)
        return self.client(token)

    def remote(self, role: str, folder: Path) -> list[str]:
        """Return the options with which a command of somebody with a role asks this service."""
        return remote(self.address, self.as_role(role).headers["authorization"].split()[1], folder)

    def logged_in(self, name: str) -> httpx.Client:
        """Return a caller with a session."""
        made = self.client()
        answer = made.post("/session", json={"user": name, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        made.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return made

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._server.should_exit = True
        self._thread.join()
