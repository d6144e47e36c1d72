"""Downloads a bundle from a URL (http, https or file) in a thread, within one deadline.

Theory of operation. The URL is in a signed document, but its server is not trusted. Each block is checked as
it arrives, so a server cannot fill the disk with other data. A failure is reported once, with its reason,
through ``done``; the device then requests the missing blocks from the hub. A timer closes the connection at
the deadline, even if the server still sends data; the thread then ends and writes nothing more.

A redirect is followed only to the same scheme, host and port, unless the configuration allows others. A file
URL must name a regular file. Reasons do not contain the user name, password or query of a URL, since these
may be secrets.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import IO, Any, Protocol

from edge_agent.errors import PlatformError
from edge_agent.wire.blocks import Cut

log = logging.getLogger("edge_agent")

SECONDS = 600.0
SILENCE_SECONDS = 60.0
"""The longest a server may be silent."""
_SHOWN = 200
_SCHEMES = ("http", "https", "file")

Done = Callable[[str, str], None]
"""(digest, reason): the reason is "" if every block is right."""


class BlockWriter(Protocol):
    """Where blocks go."""

    def had(self, cut: Cut) -> set[int]:
        """Return the blocks that are on the disk."""

    def write(self, cut: Cut, index: int, data: bytes) -> None:
        """Write a block at its place."""


class HttpDownload:
    """One download under way.

    Parameters
    ----------
    cut : Cut
        What to fetch, and from where.
    blocks : BlockWriter
        Where it goes.
    done : callable
        Called once, from a thread of the download.
    seconds : float
        For the whole download.
    redirects : bool
        Whether redirects to other hosts, ports and schemes (http and https) are followed.
    """

    def __init__(
        self, cut: Cut, blocks: BlockWriter, done: Done, seconds: float = SECONDS, redirects: bool = False
    ) -> None:
        self._cut = cut
        self._blocks = blocks
        self._done = done
        self._seconds = seconds
        self._redirects = redirects
        self._lock = threading.Lock()
        self._over = False
        self._socket: socket.socket | None = None

    def start(self) -> threading.Thread:
        """Begin; return the thread that fetches."""
        timer = threading.Timer(self._seconds, self._expire)
        timer.daemon = True
        timer.name = "download deadline"
        thread = threading.Thread(target=self._work, args=(timer,), name="download", daemon=True)
        timer.start()
        thread.start()
        return thread

    def _work(self, timer: threading.Timer) -> None:
        try:
            reason = self._fetch()
        except Exception as error:  # whatever a server can cause is news for the loop, or it waits for ever
            reason = f"{type(error).__name__}: {error}"
            log.debug("download: %s", shown_url(self._cut.url), exc_info=True)
        timer.cancel()
        self._end(reason)

    def _expire(self) -> None:
        self._end(f"not done within {self._seconds:g} s")

    def _end(self, reason: str) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
            connection = self._socket
        if connection is not None:
            with suppress(OSError):  # it may be closed already
                connection.shutdown(socket.SHUT_RDWR)  # ends a read in the other thread
        self._done(self._cut.digest, f"{shown_url(self._cut.url)}: {_line(reason)}" if reason else "")

    def _fetch(self) -> str:
        fault = url_fault(self._cut.url)
        if fault:
            return fault
        had = self._blocks.had(self._cut)
        count = len(self._cut.blocks)
        first = next((index for index in range(count) if index not in had), count)
        if first == count:
            return ""
        with self._opened(first) as (source, start):
            for index in range(start, count):
                length = self._cut.length(index)
                data = source.read(length)
                if len(data) < length:
                    return f"ends {length - len(data)} bytes before the end of block {index}"
                if not self._cut.fits(index, data):
                    return f"block {index} is not the one that was signed"
                if index not in had and not self._write(index, data):
                    return "given up"
        return ""

    def _write(self, index: int, data: bytes) -> bool:
        with self._lock:  # nothing is written any more once the end was told
            if not self._over:
                self._blocks.write(self._cut, index, data)
            return not self._over

    def _opened(self, first: int) -> AbstractContextManager[tuple[IO[bytes] | HTTPResponse, int]]:
        """Open the source at block ``first``, or at 0 where there are no ranges."""
        if self._cut.url.startswith("file:"):
            return _opened_file(self._cut.url)
        return self._opened_http(first)

    @contextmanager
    def _opened_http(self, first: int) -> Iterator[tuple[HTTPResponse, int]]:
        request = urllib.request.Request(self._cut.url)  # noqa: S310 - the scheme was checked
        if first:
            request.add_header("Range", f"bytes={first * self._cut.block}-")
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            _Http(self._connected),
            _Https(self._connected),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(self._redirects),
        ):
            opener.add_handler(handler)
        # Not the deadline as well: a socket that ends just before the timer would say less.
        answer: HTTPResponse | None = opener.open(request, timeout=SILENCE_SECONDS)
        if answer is None:
            raise PlatformError("unsupported URL scheme")
        with answer:
            yield answer, first if answer.status == 206 else 0

    def _connected(self, connection: socket.socket) -> None:
        with self._lock:
            self._socket = connection
            if self._over:
                raise TimeoutError("given up")


def url_fault(url: str) -> str:
    """Return why a bundle cannot be fetched from ``url``, "" if it can be tried."""
    if not url.startswith(tuple(f"{scheme}://" for scheme in _SCHEMES)):
        return f"expected {', '.join(_SCHEMES[:-1])} or {_SCHEMES[-1]}"
    if re.search(r"[^\x21-\x7e]", url):
        return "expected a URL of printable ASCII characters without blanks"
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return "expected a host and a port from 1 to 65535"
    if port == 0:
        return "expected a port from 1 to 65535"
    if "@" in parts.netloc:
        return "expected no user name or password in a URL"
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        return "expected a file of this device"
    if parts.scheme != "file" and not parts.hostname:
        return "expected a host"
    return ""


def shown_url(url: str) -> str:
    """Return ``url`` as it may stand in a log: without user, password, query and fragment."""
    return _line(re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0]))


def _line(text: str) -> str:
    """Return a text by others as one short line."""
    return " ".join(ascii(text)[1:-1].split())[:_SHOWN]


@contextmanager
def _opened_file(url: str) -> Iterator[tuple[IO[bytes], int]]:
    path = urllib.request.url2pathname(urllib.parse.urlsplit(url).path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would wait for a writer
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PlatformError("not a regular file")
        yield file, 0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the same scheme, host and port; to others if that is allowed."""

    def __init__(self, anywhere: bool) -> None:
        self._anywhere = anywhere

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        target = newurl.replace(" ", "%20")
        expected = ""
        if url_fault(target) or target.startswith("file:"):
            expected = "http or https"
        elif not self._anywhere and _origin(target) != _origin(req.full_url):
            expected = "the same scheme, host and port (hub.redirects_elsewhere allows others)"
        if expected:
            fp.close()
            raise PlatformError(f"redirected to {shown_url(target)}, expected {expected}")
        return super().redirect_request(req, fp, code, msg, headers, target)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


class _Http(urllib.request.HTTPHandler):
    """Tells which socket it connected."""

    def __init__(self, connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._connected = connected

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Open a connection."""
        connected = self._connected

        class Connection(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                connected(self.sock)

        return self.do_open(Connection, req)


class _Https(urllib.request.HTTPSHandler):
    """Tells which socket it connected, past the handshake."""

    def __init__(self, connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._connected = connected

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Open a connection."""
        connected = self._connected

        class Connection(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                connected(self.sock)

        return self.do_open(Connection, req)
