"""Requests that no honest client makes: bombs, injected lines, endless bodies, half requests."""

import io
import logging
import os
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_hub.api.request_limits import TimedRequests
from edge_hub.database.engine import Database
from tests.hub.service import Service
from tests.hub.test_rest import make_bundle


def archive(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, data in entries.items():
            made.writestr(name, data)
    return file.getvalue()


def bombs() -> Iterator[tuple[str, bytes, str]]:
    yield "deflated", archive({"manifest.json": bytes(50_000_000)}, zipfile.ZIP_DEFLATED), "is compressed"
    nested = archive({"a": archive({"b": bytes(1_000_000)}, zipfile.ZIP_DEFLATED)}, zipfile.ZIP_DEFLATED)
    yield "nested", nested, "is compressed"
    yield "many entries", archive({str(n): b"" for n in range(1001)}), "1001 entries"
    lying = bytearray(archive({"manifest.json": b"x" * 100}))
    at = lying.index(b"PK\x01\x02")
    lying[at + 20 : at + 28] = (2**31).to_bytes(4, "little") * 2
    yield "claims", bytes(lying), "claims 2147483648 bytes"
    yield "path", archive({"../../../../tmp/edge-hub-evil": b"x", "manifest.json": b"{}"}), "manifest.json"
    yield "absolute", archive({"/tmp/edge-hub-evil": b"x"}), "manifest.json is missing"
    yield "no zip", b"PK\x03\x04" + os.urandom(1000), "not a bundle"


def test_a_bundle_that_is_a_bomb_is_refused_and_leaves_nothing(service: Service, tmp_path: Path) -> None:
    caller = service.as_role("operator")
    for name, content, reason in bombs():
        answer = caller.post("/bundles", content=content)
        assert answer.status_code == 422, name
        assert reason in answer.json()["detail"], (name, answer.json())
    assert not Path("/tmp/edge-hub-evil").exists()
    assert caller.get("/bundles").json() == []
    path, _ = make_bundle(tmp_path)
    assert caller.post("/bundles", content=path.read_bytes()).status_code == 201


def raw(service: Service, *lines: bytes, end: bytes = b"\r\n\r\n") -> bytes:
    """Send a request as it is and return the answer up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(b"\r\n".join(lines) + end)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


HOST = b"Host: x"
LAST = b"Connection: close"


@pytest.mark.parametrize(
    "lines",
    [
        (b"GET /api/v1/groups/a%0d%0aSet-Cookie:%20evil=1 HTTP/1.1",),
        (b"GET /api/v1/devices?filter=%0d%0aSet-Cookie:%20evil=1 HTTP/1.1",),
        (b"PUT /api/v1/groups/g HTTP/1.1", b"Idempotency-Key: a\nSet-Cookie: evil=1"),
        (b"GET /healthz HTTP/1.1", b"X-Forwarded-For: 1\rSet-Cookie: evil=1"),
        (b"GET /healthz HTTP/1.1", b"Cookie: edge_hub_session=\x00"),
        (b"GET /healthz HTTP/1.1", b"Content-Length: -1"),
        (b"GET /healthz HTTP/1.1", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        (b"GET /../../etc/passwd HTTP/1.1",),
        (b"GET /api/v1/bundles/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1",),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1",),
        (b"GET /healthz HTTP/1.1", b"X: " + b"a" * 1_000_000),
    ],
)
def test_no_line_of_a_client_becomes_a_header_of_the_answer(
    service: Service, lines: tuple[bytes, ...]
) -> None:
    try:
        answer = raw(service, lines[0], HOST, LAST, *lines[1:])
    except ConnectionError:
        answer = b"HTTP/1.1 400 closed"  # refused before the end of what was sent
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"set-cookie" not in head
    assert not head.startswith(b"http/1.1 5")
    assert b"root:" not in answer
    assert service.client().get(service.address + "/healthz").status_code == 200


def test_no_value_of_a_client_begins_a_line_of_the_log(service: Service, caplog: Any) -> None:
    forged = "ann\nedge-hub: forged \x1b[2J"
    caller = service.as_role("admin")
    with caplog.at_level(logging.DEBUG):
        caller.post("/session", json={"user": forged, "password": "wrong wrong wrong"})
        caller.post("/users", json={"name": forged, "role": "viewer", "password": "long enough for that"})
        caller.put("/groups/g", json={"filter": f"name={forged}", "note": forged})
        caller.post("/tokens", json={"name": forged})
        caller.get("/devices", params={"filter": forged})
    assert not [record for record in caplog.records if "\n" in record.getMessage().rstrip("\n")]
    assert not [record for record in caplog.records if "\x1b" in record.getMessage()]


def test_a_gigabyte_that_is_announced_is_refused_before_it_comes(service: Service) -> None:
    token = service.as_role("operator").headers["Authorization"].encode()
    for path in (b"PUT /api/v1/groups/g", b"POST /api/v1/bundles"):
        head = (b"Authorization: " + token, b"Content-Type: application/json", b"Content-Length: 1073741824")
        answer = raw(service, path + b" HTTP/1.1", HOST, LAST, *head)
        assert answer.startswith(b"HTTP/1.1 413 "), answer[:200]


class Impatient(TimedRequests):
    header_s = 0.5
    body_s = 0.5


def test_clients_that_never_finish_lose_their_connection_and_keep_nobody_out(database: Database) -> None:
    service = Service(database, Impatient)
    slow = []
    try:
        caller = service.as_role("operator")
        token = caller.headers["Authorization"].encode()
        begun = b"PUT /api/v1/groups/g HTTP/1.1\r\nHost: x\r\nAuthorization: " + token
        halves = (b"", b"G", begun, begun + b"\r\nContent-Length: 10\r\n\r\n{")
        for half in halves * 25:
            slow.append(socket.create_connection(("127.0.0.1", service.port), timeout=60))
            slow[-1].sendall(half)
        assert caller.get("/groups").status_code == 200
        for connection in slow:
            while connection.recv(65536):  # until it is closed
                pass
        assert caller.put("/groups/g", json={"filter": "online"}).status_code == 200
    finally:
        for connection in slow:
            connection.close()
        service.close()
