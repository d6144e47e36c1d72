"""Bodies of the hub's REST interface, uploads and enrolments among them: an admin's, to a whole application.

The first byte chooses the route, the rest is the body. No answer may be one of 500 or above; what is refused
has a problem's document. Logins are left out: they take the time that a password has to take.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litestar import Litestar

from edge_agent.wire import signatures
from edge_hub.api import app
from edge_hub.api.hub import Hub
from edge_hub.database import accounts
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.domain import secrets
from edge_hub.enrolment import Enrolment
from tests.fuzz.files import light_bundle
from tests.hub.test_rest import Sender, fill

DEVICE = "/devices/home/d000/labels"
ROUTES = (
    ("POST", "/bundles"),
    ("POST", "/enrol"),
    ("POST", "/enrolments"),
    ("POST", "/releases"),
    ("POST", "/rollouts"),
    ("POST", "/configurations"),
    ("POST", "/commands"),
    ("POST", "/tokens"),
    ("POST", "/alerts/a/acknowledge"),
    ("POST", "/learning/home/rooms/" + "ab" * 32 + "/rounds"),
    ("PUT", "/groups/g"),
    ("PUT", "/alerts/rules/r"),
    ("PUT", DEVICE),
    ("PATCH", "/users/1"),
)
EXECUTIONS = 2000
"""So many bodies go to one application: what they make fills its database."""
CODE = b"CODE"
"""Stands in a body for a code that is valid."""


class Service:
    """An application on a database of its own, without a socket."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        self._database = Database(str(Path(self._folder.name) / "hub.db"))
        migrate(self._database)
        self._hub = Hub(self._database)
        self._hub.enrolment = Enrolment("broker", 8883, keys=(signatures.generate("hub").public.line(),))
        self._app: Litestar = app.make(self._hub)
        self._hub.sender = Sender()
        fill(self._database, 3)
        self._token, now = secrets.make(secrets.TOKEN_PREFIX), time.time()
        with self._database.write() as connection:
            number = accounts.add_user(connection, "admin", "admin", "", now)
            digest = secrets.digest(self._token)
            accounts.add_token(connection, "t", number, digest, "admin", [], now, now + 86_400.0)
        self.calls = 0
        self._code = json.loads(self.call("POST", "/enrolments", b'{"fleet": "home"}')[1])["code"].encode()

    def call(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        self.calls += 1
        if path == "/enrol":
            body = body.replace(CODE, self._code)
        headers = {b"authorization": f"Bearer {self._token}".encode(), b"content-type": b"application/json"}
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": f"/api/v1{path}",
            "raw_path": f"/api/v1{path}".encode(),
            "root_path": "",
            "query_string": b"",
            "headers": list(headers.items()),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        sent: list[Any] = []
        received = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            return next(received, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            sent.append(message)

        self._loop.run_until_complete(self._app(scope, receive, send))  # type: ignore[arg-type]
        return int(sent[0]["status"]), b"".join(part.get("body", b"") for part in sent[1:])

    def close(self) -> None:
        """End it."""
        self._hub.pool.shutdown()
        self._database.close()
        self._loop.close()
        self._folder.cleanup()


_services: list[Service] = []


def decode(data: bytes) -> None:
    """Send a body to a route."""
    if _services and _services[0].calls >= EXECUTIONS:
        _services.pop().close()
    if not _services:
        _services.append(Service())
    method, path = ROUTES[data[0] % len(ROUTES)] if data else ROUTES[0]
    status, answer = _services[0].call(method, path, data[1:])
    assert status < 500, (status, answer)
    if status >= 400:
        assert json.loads(answer)["status"] == status, answer


def request() -> str:
    """Return a certificate signing request of a board."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "d")])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def _input(path: str, body: bytes) -> bytes:
    return bytes([[route for _, route in ROUTES].index(path)]) + body


def seed() -> bytes:
    """Return one input that is right."""
    return _input("/groups/g", b'{"filter": "fleet=home"}')


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    digest, of_fleet = "ab" * 32, {"fleet": "home", "filter": "fleet=home"}
    tensor = {"name": "A_0", "counts": 3.0, "kl_mean": 0.1, "kl_most": 0.2}
    report: dict[str, Any] = {"sum": "robust", "devices": 3, "refused": 0, "counts": 9.0, "tensors": [tensor]}
    report |= {"source_sha256": digest, "output_sha256": digest}
    report |= {"held_out": {"readings": 5, "before": -1.5, "after": -1.25}}
    bodies: dict[str, Any] = {
        "/enrol": {"code": CODE.decode(), "device": "new", "request": request()},
        "/enrolments": {"fleet": "home", "hours": 1},
        "/releases": {
            "doc": '{"bundle":"' + digest + '"}',
            "signatures": [{"key": digest, "signature": 2 * digest}],
        },
        "/rollouts": of_fleet | {"bundle": digest, "population": "rooms", "gates": {"steps": 10}},
        "/configurations": of_fleet | {"values": {"device.telemetry_s": 5.0}},
        "/commands": of_fleet | {"name": "set-rate", "arguments": {"population": "rooms", "rate_hz": 2}},
        "/tokens": {"name": "t", "role": "viewer", "days": 1},
        "/alerts/a/acknowledge": {},
        ROUTES[9][1]: report,
        "/alerts/rules/r": {"field": "rooms/steps", "limit": 5, "measure": "trend", "window_s": 60},
        DEVICE: {"labels": {"room": "kitchen"}},
        "/users/1": {"role": "admin"},
    }
    for path, body in bodies.items():
        yield _input(path, json.dumps(body).encode())
    yield _input("/bundles", light_bundle())
    for _, path in ROUTES:
        yield _input(path, b"[" * 20_000)
    nested = b"[" * 900 + b"]" * 900
    head = b'{"fleet": "home", "filter": "fleet=home", '
    yield _input("/configurations", head + b'"values": {"device.telemetry_s": ' + nested + b"}}")
    yield _input("/commands", head + b'"name": "status", "arguments": {"a": ' + nested + b"}}")
