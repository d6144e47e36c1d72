"""Other brokers: one that supports only MQTT 3.1.1, and a hostile one."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PIECE = 65536
LARGEST = 268_435_455  # MQTT 5.0 section 1.5.5
CONNACK = {4: b"\x20\x02\x00\x00", 5: b"\x20\x03\x00\x00\x00"}


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """Hand every connection to ``handle`` in a thread of its own; yield the port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                handle(self.request)

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def connect_version(connection: socket.socket) -> tuple[int, bytes]:
    """Read a CONNECT; return the version of MQTT that it asks for, and its bytes."""
    packet = b""
    while len(packet) < 12:
        piece = connection.recv(PIECE)
        if not piece:
            raise ConnectionError
        packet += piece
    return packet[packet.index(b"MQTT") + 4], packet


@contextmanager
def only_3_1_1(port: int) -> Iterator[int]:
    """Put a relay before the broker at ``port`` that refuses MQTT 5, as a 3.1.1 broker does."""

    def relay(client: socket.socket) -> None:
        version, packet = connect_version(client)
        if version != 4:
            client.sendall(b"\x20\x02\x00\x01")
            return
        with socket.create_connection(("127.0.0.1", port)) as broker:
            broker.sendall(packet)
            threading.Thread(target=_copy, args=(client, broker), daemon=True).start()
            _copy(broker, client)

    with serving(relay) as found:
        yield found


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def publish_header(topic: bytes, length: int = LARGEST) -> bytes:
    """Return the beginning of a PUBLISH that announces ``length`` bytes."""
    left, encoded = length, bytearray()
    while True:
        left, digit = divmod(left, 128)
        encoded.append(digit | (128 if left else 0))
        if not left:
            return b"\x30" + encoded + len(topic).to_bytes(2) + topic


class HostileBroker:
    """Welcomes whoever comes with a message of 256 MB.

    Parameters
    ----------
    version : int
        The version that it speaks; another one is refused.
    before : bool
        Whether the message comes before the CONNACK.
    packet : bytes
        What it sends; after it come zeros, until the other side hangs up.
    """

    def __init__(self, version: int, before: bool, packet: bytes) -> None:
        self.version = version
        self.connections = 0
        self.sent = 0
        """Bytes after ``packet`` that the other side took, its socket's buffers included."""
        self._before = before
        self._packet = packet

    def handle(self, connection: socket.socket) -> None:
        """Serve one connection."""
        version, _ = connect_version(connection)
        if version != self.version:
            connection.sendall(b"\x20\x02\x00\x01" if version == 5 else b"\x20\x02\x00\x05")
            return
        self.connections += 1
        connection.sendall(b"" if self._before else CONNACK[version])
        connection.sendall(self._packet)
        zeros = bytes(PIECE)
        left = LARGEST
        while left > 0:
            connection.sendall(zeros[:left])
            self.sent += min(PIECE, left)
            left -= PIECE
