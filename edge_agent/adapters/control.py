"""The control socket: queries and answers over a UNIX socket, one JSON object per line.

Theory of operation. The socket's file permissions control access. The server is part of the daemon's loop: it
never blocks, reads at most one line of 4 KiB per client, and keeps an answer until the client has read it. A
client that sends more, or does not finish within `CLIENT_S` seconds, is disconnected. If there are too many
clients, the oldest is disconnected, so that idle clients cannot block others. Without a free file descriptor
the server stops accepting clients for `PAUSE_S` seconds; that is counted and logged once.
"""

from __future__ import annotations

import json
import logging
import math
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.errors import EdgeAgentError, PlatformError

log = logging.getLogger("edge_agent")

MAX_REQUEST = 4096
MAX_CLIENTS = 8
TIMEOUT_S = 10.0
CLIENT_S = 5.0
PAUSE_S = 1.0
Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    until: float
    received: bytearray = field(default_factory=bytearray)
    answer: memoryview = field(default_factory=lambda: memoryview(b""))


class ControlServer:
    """Listens at ``path`` with permissions ``mode`` (octal text) in ``selector``; asks ``answer``."""

    def __init__(
        self,
        path: Path,
        mode: str,
        selector: selectors.BaseSelector,
        answer: Answer,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failed = 0
        """Clients that could not be taken in."""
        self._path = path
        self._monotonic = monotonic
        self._paused_until: float | None = None
        self._selector = selector
        self._answer = answer
        self._clients: dict[int, _Client] = {}
        self._listener = _listen(path, mode)
        selector.register(self._listener, selectors.EVENT_READ, self.accept)

    def accept(self, _: int) -> None:
        """Take a new client in."""
        try:
            connection, _address = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptor, no memory: the client waits, and so do we
            self._pause(error)
            return
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(next(iter(self._clients)))
        connection.setblocking(False)
        self._clients[connection.fileno()] = _Client(connection, self._monotonic() + CLIENT_S)
        self._selector.register(connection, selectors.EVENT_READ, self.serve)

    @property
    def deadline(self) -> float:
        """When `tick` has something to do, monotonic seconds."""
        pause = math.inf if self._paused_until is None else self._paused_until
        return min([pause, *(client.until for client in self._clients.values())])

    def tick(self) -> None:
        """Cut off clients whose time is over, and listen again after a pause."""
        now = self._monotonic()
        for descriptor in [d for d, client in self._clients.items() if client.until <= now]:
            self._drop(descriptor)
        if self._paused_until is not None and now >= self._paused_until:
            self._paused_until = None
            self._selector.register(self._listener, selectors.EVENT_READ, self.accept)

    def serve(self, descriptor: int) -> None:
        """Move one client's question or answer along."""
        client = self._clients.get(descriptor)
        if client is None:  # cut off since it was found ready
            return
        try:
            if client.answer:
                client.answer = client.answer[client.connection.send(client.answer) :]
                if not client.answer:
                    self._drop(descriptor)
                return
            data = client.connection.recv(MAX_REQUEST)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(descriptor)
            return
        client.received += data
        if b"\n" in client.received:
            client.answer = memoryview(self._reply(bytes(client.received).split(b"\n", 1)[0]))
            self._selector.modify(client.connection, selectors.EVENT_WRITE, self.serve)
        elif not data or len(client.received) > MAX_REQUEST:
            self._drop(descriptor)

    def close(self) -> None:
        """Stop listening and remove the socket's file."""
        for descriptor in list(self._clients):
            self._drop(descriptor)
        if self._paused_until is None:
            self._selector.unregister(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _pause(self, error: OSError) -> None:
        """Stop listening for a while: the client that waits would wake the loop at once again."""
        if not self.failed:
            log.error("%s: no client can be taken in: %s", self._path, error.strerror)
        self.failed += 1
        self._paused_until = self._monotonic() + PAUSE_S
        self._selector.unregister(self._listener)

    def _reply(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            return b'{"error": "expected one JSON object a line", "exit": 2}\n'
        try:
            answer = self._answer(request)
        except EdgeAgentError as error:
            answer = {"error": str(error), "exit": error.exit_code}
        return json.dumps(answer).encode() + b"\n"

    def _drop(self, descriptor: int) -> None:
        client = self._clients.pop(descriptor)
        self._selector.unregister(client.connection)
        client.connection.close()


def ask(path: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the daemon at ``path``.

    Raises
    ------
    PlatformError
        Nobody listens there, or this user may not ask, or the answer is an error.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            received = bytearray()
            while data := connection.recv(65536):
                received += data
    except FileNotFoundError as error:
        raise PlatformError(f"{path}: no such socket; is the daemon running?") from error
    except ConnectionRefusedError as error:
        raise PlatformError(f"{path}: connection refused; the daemon ended abnormally") from error
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror or error}") from error
    if not received.endswith(b"\n"):
        raise PlatformError(f"{path}: the daemon ended the connection before it had answered")
    answer: dict[str, Any] = json.loads(received)
    if "error" in answer:
        raise PlatformError(str(answer["error"]))
    return answer


def _listen(path: Path, mode: str) -> socket.socket:
    """Return the listening socket; a socket that nobody listens at is replaced."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_socket():
            if _answers(path):
                raise PlatformError(f"{path}: a daemon already listens there")
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o777)  # nobody gets in before the permissions stand
        try:
            listener.bind(str(path))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(before)
        path.chmod(int(mode, 8))
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror or error}") from error
    listener.setblocking(False)
    listener.listen(MAX_CLIENTS)
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
