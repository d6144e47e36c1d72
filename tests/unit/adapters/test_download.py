"""Bundles from a hostile server on loopback: whatever it does is one reason, and nothing wrong is kept."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.adapters.bundle_folder import BundleFolder
from edge_agent.adapters.download import url_fault
from edge_agent.wire import blocks

FILE = bytes(range(256)) * 10
PATIENCE = 30.0
"""Seconds after which a test fails that would wait for ever."""
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(FILE)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
NEVER = 3600.0

Answer = Callable[[socket.socket], None]


class Server:
    """Answers each request with raw bytes; notes the requests."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[bytes] = []
        self.hung_up = threading.Event()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer.asked.append(self.request.recv(65536))
                try:
                    answer(self.request)
                except OSError:
                    outer.hung_up.set()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Answer | bytes], Server]]:
    servers: list[Server] = []

    def start(answer: Answer | bytes) -> Server:
        raw = answer
        servers.append(Server(raw if callable(raw) else lambda connection: connection.sendall(raw)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def fetch(folder: Path, url: str, seconds: float = NEVER, redirects: bool = False) -> str:
    """Return what the download said."""
    told: list[tuple[str, str]] = []
    end = threading.Event()

    def done(digest: str, reason: str) -> None:
        told.append((digest, reason))
        end.set()

    cut = blocks.cut("0" * 64, "m", FILE, url, block=1000)
    BundleFolder(folder).download(cut, done, seconds, redirects)
    assert end.wait(PATIENCE), "no news of the download"
    ((digest, reason),) = told
    assert digest == cut.digest
    assert reason.isprintable()
    assert len(reason) < 500
    return reason


def kept(folder: Path) -> set[int]:
    return BundleFolder(folder).had(blocks.cut("0" * 64, "m", FILE, block=1000))


MANY_HEADERS = b"".join(b"X-%d: y\r\n" % n for n in range(200))


@pytest.mark.parametrize(
    ("answer", "reason", "had"),
    [
        (OK + LENGTH + b"\r\n" + FILE, "", {0, 1, 2}),
        (OK + CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(FILE), FILE), "", {0, 1, 2}),
        (b"", "RemoteDisconnected", set()),
        (b"\x00\xff\xfe garbage \r\n\r\n", "BadStatusLine", set()),
        (b"HTTP/1.1 banana\r\n\r\n", "BadStatusLine", set()),
        (b"H" * 70_000, "", None),
        (OK + MANY_HEADERS + b"\r\n" + FILE, "got more than 100 headers", set()),
        (OK + b"X: " + b"y" * 70_000 + b"\r\n\r\n" + FILE, "LineTooLong", set()),
        (OK + CHUNKED + b"zz\r\n" + FILE, "IncompleteRead", set()),
        (OK + CHUNKED + b"1388\r\n" + FILE[:1500], "IncompleteRead", {0}),
        (OK + LENGTH + b"\r\n" + FILE[:1500], "ends 500 bytes before the end of block 1", {0}),
        (OK + b"Content-Length: -5\r\n\r\n" + FILE[:10], "ends 990 bytes before the end of block 0", set()),
        (OK + LENGTH + b"\r\n" + bytes(len(FILE)), "block 0 is not the one that was signed", set()),
        (OK + b"Content-Encoding: gzip\r\n\r\n" + bytes(3000), "block 0 is not the one", set()),
        (b"HTTP/1.1 404 \xff\x00\x1b[31m\r\n\r\n", "HTTP Error 404", set()),
        (b"HTTP/1.1 302 Found\r\n\r\n", "HTTP Error 302", set()),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[x/\r\n\r\n", "", None),
        (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", "", None),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/\r\n\r\n", "", None),
    ],
)
def test_whatever_a_server_answers_is_told(
    tmp_path: Path, serve: Any, answer: bytes, reason: str, had: set[int] | None
) -> None:
    said = fetch(tmp_path, f"http://127.0.0.1:{serve(answer).port}/m")
    if had is None:
        assert said
        assert kept(tmp_path) == set()
    else:
        assert bool(said) == bool(reason)
        assert reason in said
        assert kept(tmp_path) == had


def test_a_server_that_says_nothing_ends_with_the_deadline(tmp_path: Path, serve: Any) -> None:
    def wait(connection: socket.socket) -> None:
        if not connection.recv(1):  # until the device hangs up
            raise ConnectionResetError

    server = serve(wait)
    assert "not done within 0.2 s" in fetch(tmp_path, f"http://127.0.0.1:{server.port}/m", 0.2)
    assert server.hung_up.wait(PATIENCE)


@pytest.mark.parametrize("where", ["header", "body"])
def test_a_server_that_sends_a_byte_now_and_then_ends_with_the_deadline(
    tmp_path: Path, serve: Any, where: str
) -> None:
    pause = threading.Event()

    def drip(connection: socket.socket) -> None:
        if where == "body":
            connection.sendall(OK + LENGTH + b"\r\n" + FILE[:1000])
        while not pause.wait(0.02):
            connection.sendall(b"x" if where == "header" else FILE[:1])

    server = serve(drip)
    assert "not done within 0.3 s" in fetch(tmp_path, f"http://127.0.0.1:{server.port}/m", 0.3)
    assert server.hung_up.wait(PATIENCE)
    assert kept(tmp_path) == ({0} if where == "body" else set())


def redirect(target: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()


def test_redirects_lead_to_the_same_host_and_scheme_unless_others_are_allowed(
    tmp_path: Path, serve: Any
) -> None:
    good = serve(OK + LENGTH + b"\r\n" + FILE)
    moved = serve(redirect(f"http://127.0.0.1:{good.port}/m?token=secret"))
    said = fetch(tmp_path, f"http://127.0.0.1:{moved.port}/m?token=secret")
    assert "expected the same scheme, host and port" in said
    assert "secret" not in said
    assert good.asked == []
    assert fetch(tmp_path, f"http://127.0.0.1:{moved.port}/m", redirects=True) == ""
    for number, target in enumerate(("file:///etc/hostname", "ftp://127.0.0.1/m", "https:/x", "gopher://x")):
        folder = tmp_path / str(number)
        folder.mkdir()
        url = f"http://127.0.0.1:{serve(redirect(target)).port}/m"
        assert "redirect" in fetch(folder, url, redirects=True).lower()


def test_a_redirect_within_a_host_is_followed_and_a_circle_is_not(tmp_path: Path, serve: Any) -> None:
    def answer(connection: socket.socket) -> None:
        first = len(server.asked) == 1
        connection.sendall(redirect("/elsewhere") if first else OK + LENGTH + b"\r\n" + FILE)

    server = serve(answer)
    assert fetch(tmp_path, f"http://127.0.0.1:{server.port}/m") == ""
    circle = tmp_path / "circle"
    circle.mkdir()
    assert "redirect" in fetch(circle, f"http://127.0.0.1:{serve(redirect('/m')).port}/m")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/y",
        "HTTP//x",
        "http://",
        "http://127.0.0.1:99999/m",
        "http://127.0.0.1:0/m",
        "http://127.0.0.1:port/m",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\r\nX: y",
        "http://[::1/m",
        "http://ä.example/m",
        "http://tom:secret@127.0.0.1/m",
        "file://elsewhere/etc/hostname",
        "file:///tmp/a\0b",
        "data:,x",
    ],
)
def test_a_url_that_cannot_be_is_told_without_asking_anybody(tmp_path: Path, url: str) -> None:
    said = fetch(tmp_path, url)
    assert "expected" in said
    assert "secret" not in said
    assert url_fault(url)


def test_of_a_file_url_only_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "good file").write_bytes(FILE)
    for name in ("folder", "fifo", "none"):
        assert fetch(tmp_path, (tmp_path / name).as_uri())
    assert "not a regular file" in fetch(tmp_path, "file:///dev/zero")
    assert kept(tmp_path) == set()
    assert fetch(tmp_path, (tmp_path / "good file").as_uri()) == ""


def test_a_store_that_fails_unexpectedly_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m").write_bytes(FILE)

    def fail(*_: object) -> None:
        raise RuntimeError("nobody foresaw this\n")

    monkeypatch.setattr(BundleFolder, "write", fail)
    assert "RuntimeError: nobody foresaw this" in fetch(tmp_path, (tmp_path / "m").as_uri())


def test_nobody_listens(tmp_path: Path, serve: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert "refused" in fetch(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}/m")
