"""A paho client whose bytes pass through buffers: the loop reads and writes the socket, paho the packets.

Theory of operation. paho reads every byte through ``_sock_recv`` and writes every byte through
``_sock_send``. `LoopedClient` replaces both. `LoopedClient.receive` reads what the socket has in one call,
and separates it (`adapters.mqtt_incoming`): messages with QoS 0 are returned, all other packets are read by
paho out of a buffer. What paho writes, and messages with QoS 0 that `LoopedClient.send` encodes, go into
one buffer, which `LoopedClient.flush` writes in one call. So paho keeps the connection (CONNECT, SUBSCRIBE,
QoS 1, keep-alive, TLS) and sees nothing of the messages that come and go by the thousand.

The two methods are not in paho's documented interface: `replaces_io` tries them, on a socket to ourselves.

Bounds: what waits to be written is at most `OUT_BYTES` and one packet; then nothing more is taken. DISCONNECT
is written when everything before it has been, since paho closes the socket behind it.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections import deque
from collections.abc import Iterator
from typing import Literal

from edge_agent.adapters.limited_client import OneConnection
from edge_agent.adapters.mqtt_incoming import MqttIncoming
from edge_agent.adapters.packet_lengths import OversizeError
from edge_agent.errors import PeerError
from edge_agent.protocol.ports import MQTT_5, MQTT_311, Received
from edge_agent.wire.mqtt_packets import CONNACK, DISCONNECT, TYPE, publish_0

log = logging.getLogger("edge_agent")

READ_BYTES = 65536
OUT_BYTES = 1024 * 1024


class LoopedClient(OneConnection):
    """One connection that a loop serves.

    Parameters
    ----------
    incoming : MqttIncoming
        Separates what the broker sends.
    client_id, version, clean, transport
        As `OneConnection`.
    not_now : tuple of exception types
        What the socket raises when it has nothing to read or no room to write.
    """

    def __init__(
        self,
        incoming: MqttIncoming,
        client_id: str,
        version: int,
        clean: bool,
        not_now: tuple[type[OSError], ...] = (BlockingIOError,),
        transport: Literal["tcp", "unix"] = "tcp",
    ) -> None:
        super().__init__(client_id, version, clean, transport)
        self.incoming = incoming
        self.readable = False
        """Whether the socket has something to read."""
        self._five = version == MQTT_5
        self._not_now = not_now
        self._to_paho = bytearray()
        self._out = bytearray()
        self._ended = False
        self._refused: OversizeError | None = None

    @property
    def refused(self) -> OversizeError | None:
        """The packet because of which the connection must end."""
        return self._refused

    @property
    def limited(self) -> bool:
        """Whether packets passed through `MqttIncoming`."""
        return self.incoming.packets > 0

    @property
    def unsent(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._out) or self.want_write()

    def receive(self, room: int) -> Iterator[list[Received]]:
        """Read from the socket; yield messages with QoS 0 of about ``room`` bytes, as many together as came
        without other packets in between; those paho takes.
        """
        if self.readable and not self.incoming.ready:
            self._read()
        try:
            for item in self.incoming.take(room):
                if isinstance(item, list):
                    yield item
                else:
                    self._to_paho += item
                    self.loop_read()
        except OversizeError as error:
            self._refused = error
            self._end(error)
        except PeerError as error:
            self._end(ConnectionAbortedError(str(error)))
        if self._ended and not self.incoming.ready:
            self.loop_read()

    def send(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Publish at QoS 0; return whether there was room for it."""
        if len(self._out) > OUT_BYTES:
            return False
        self._out += publish_0(topic, payload, retain, self._five)
        return True

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it."""
        if self.want_write():
            self.loop_write()
        if self._out:
            self._write()
            if not self._out and self.want_write():
                self.loop_write()

    def _read(self) -> None:
        """Read once, and of an encrypted connection, which gives a record at a time, `READ_BYTES`."""
        connection, size = self.socket(), 0
        self.readable = False
        if connection is None:
            return
        encrypted = len(self._not_now) > 1
        try:
            while size < READ_BYTES:
                data = connection.recv(READ_BYTES)
                if not data:
                    self._ended = True
                    return
                self.incoming.feed(data)
                size += len(data)
                if not encrypted:
                    return
            self.readable = True  # OpenSSL may hold more, which the selector does not know of
        except self._not_now:
            pass
        except OSError as error:
            self._end(error)

    def _write(self) -> None:
        connection = self.socket()
        if connection is None:
            return
        try:
            del self._out[: connection.send(self._out)]
        except self._not_now:
            pass
        except OSError as error:
            self._end(error)
            self.loop_read()

    def _end(self, trouble: OSError) -> None:
        """Let paho find the connection lost at its next reading."""
        self.trouble = self.trouble or trouble
        self._ended = True

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._to_paho:
            data = bytes(self._to_paho[:bufsize])
            del self._to_paho[:bufsize]
            return data
        if not self._ended:
            raise BlockingIOError
        if self.trouble is not None:
            raise self.trouble
        return b""

    def _sock_send(self, buf: bytes | bytearray) -> int:
        if buf[0] & TYPE == DISCONNECT:
            connection = self.socket()
            if self._out or connection is None:
                raise BlockingIOError
            try:
                return int(connection.send(buf))
            except self._not_now as error:
                raise BlockingIOError from error
        if len(self._out) > OUT_BYTES:
            raise BlockingIOError
        self._out += buf
        return len(buf)


def replaces_io() -> bool:
    """Whether this paho-mqtt reads and writes through the methods that `LoopedClient` replaces.

    A login over a socket to ourselves tells: CONNECT must be in the buffer and nothing in the socket, and a
    CONNACK from the buffer must be understood.
    """
    name = f"\0edge-agent-{os.getpid()}-{os.urandom(8).hex()}"
    incoming = MqttIncoming(READ_BYTES, READ_BYTES, properties=False)
    client = LoopedClient(incoming, "", MQTT_311, clean=True, transport="unix")
    accepted: list[bool] = []
    client.on_connect = lambda _client, _data, _flags, code, _properties: accepted.append(not code.is_failure)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)
            server.listen(1)
            client.connect(name)
            broker, _ = server.accept()
            with broker:
                if select.select([broker], [], [], 0.0)[0] or not client.unsent:
                    return False
                incoming.feed(bytes((CONNACK, 2, 0, 0)))
                deque(client.receive(READ_BYTES))
                return accepted == [True]
    except Exception:  # whatever another paho does instead
        log.exception("mqtt: paho-mqtt does not connect over a socket to ourselves")
        return False
