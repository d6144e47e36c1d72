"""An `MqttClient` for thousands of simulated devices in one event loop: MQTT 3.1.1 on asyncio.

Theory of operation. A device's own client is paho's, with a thread per connection; here all connections share
a loop. What arrives becomes an event, and ``wake`` is called once until the events are taken. A connection
that is cut (`MqttClient.outage`) ends without a goodbye, so the broker publishes the device's will.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from edge_agent.protocol.ports import (
    MQTT_5,
    MQTT_311,
    Acked,
    Connected,
    Disconnected,
    Event,
    Publication,
    Received,
    Subscription,
)
from edge_agent.wire.mqtt_packets import packet, publish_0, text_field

_CONNACK, _PUBLISH, _PUBACK = 0x20, 0x30, 0x40
_WILL_RETAIN, _WILL_QOS_1, _WILL, _CLEAN = 0x20, 0x08, 0x04, 0x02
CONNECT_S = 30.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is; ``server_name`` is the name in TLS (SNI), "" for ``host``."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str = ""


class AsyncMqttClient:
    """One device's connection.

    Parameters
    ----------
    address : Address
        The broker.
    name : str
        The client's identifier.
    wake : callable
        Called when there are events.
    """

    def __init__(self, address: Address, name: str, wake: Callable[[], None]) -> None:
        self._address, self._name, self._wake = address, name, wake
        self._events: list[Event] = []
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._tokens: dict[int, int] = {}
        self._last_id = 0
        self._until = 0.0
        self._attempt: asyncio.Task[None] | None = None
        self.bytes_received = 0

    def connect(self, will: Publication, version: int) -> None:
        """Begin an attempt; MQTT 5 and a network that is away are answered by a disconnection."""
        if version == MQTT_5:
            self.happened(Disconnected("this client speaks MQTT 3.1.1 alone", unsupported=True))
        elif asyncio.get_running_loop().time() < self._until:
            self.happened(Disconnected("no network"))
        else:
            self._attempt = asyncio.get_running_loop().create_task(self._connect(will))

    def disconnect(self) -> None:
        """End the connection or the attempt."""
        if self._attempt is not None:
            self._attempt.cancel()
        if self._transport is not None:
            self._write(b"\xe0\x00")
            self.flush()
            self._transport.close()
        self._transport, self._attempt = None, None

    def outage(self, seconds: float) -> None:
        """Cut the connection, and be without a network for a time."""
        self._until = asyncio.get_running_loop().time() + seconds
        if self._transport is not None:
            self._transport.abort()

    def publish(self, publication: Publication, token: int) -> None:
        """Publish at QoS 0 or 1."""
        body = text_field(publication.topic)
        if publication.qos:
            self._last_id = self._last_id % 65_535 + 1
            self._tokens[self._last_id] = token
            body += struct.pack("!H", self._last_id)
        first = _PUBLISH | publication.qos << 1 | publication.retain
        self._write(packet(first, body + publication.payload))

    def send(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Publish at QoS 0; the transport has room for all."""
        self._write(publish_0(topic, payload, retain))
        return True

    def flush(self) -> None:
        """Write what was gathered; the loop calls it, so that a turn of a device is one write."""
        data, self._out = b"".join(self._out), []
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for topics."""
        topics = b"".join(text_field(s.filter) + bytes([s.qos]) for s in subscriptions)
        self._write(packet(0x82, b"\0\1" + topics))

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give topics up."""
        self._write(packet(0xA2, b"\0\1" + b"".join(map(text_field, filters))))

    def acknowledge(self, acknowledge: int) -> None:
        """Acknowledge a message."""
        self._write(b"\x40\x02" + struct.pack("!H", acknowledge))

    def events(self) -> Sequence[Event]:
        """Return what happened since the last call."""
        events, self._events = self._events, []
        return events

    def kept_out(self) -> Mapping[str, int]:
        """Return what was not accepted: nothing is refused here."""
        return {}

    def happened(self, event: Event) -> None:
        """Take an event, and wake the device."""
        self._events.append(event)
        if len(self._events) == 1:
            self._wake()

    def opened(self, transport: asyncio.Transport) -> None:
        """Take note that the broker accepts."""
        self._transport, self._tokens, self._last_id, self._out = transport, {}, 0, []
        self.happened(Connected(MQTT_311))

    def closed(self, reason: str) -> None:
        """Take note that the connection ended."""
        self._transport = None
        self.happened(Disconnected(reason))

    def packet(self, first: int, body: bytes) -> None:
        """Take a packet in."""
        self.bytes_received += len(body)
        if first & 0xF0 == _PUBLISH:
            qos = first >> 1 & 3
            end = 2 + int.from_bytes(body[:2], "big")
            topic, start = body[2:end].decode("utf-8"), end + 2 * bool(qos)
            number = int.from_bytes(body[end:start], "big") if qos else None
            self.happened(Received(topic, body[start:], qos, bool(first & 1), number))
        elif first == _PUBACK:
            token = self._tokens.pop(int.from_bytes(body, "big"), 0)
            self.happened(Acked(token))

    async def _connect(self, will: Publication) -> None:
        flags = _CLEAN | _WILL | _WILL_QOS_1 | (_WILL_RETAIN if will.retain else 0)
        head = (
            text_field("MQTT") + bytes([4, flags]) + b"\0\0"
        )  # no keepalive: a device that is gone ends its socket
        body = head + text_field(self._name) + text_field(will.topic)
        hello = packet(0x10, body + struct.pack("!H", len(will.payload)) + will.payload)
        address = self._address
        name = (address.server_name or address.host) if address.tls else None
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self, hello),
                    address.host,
                    address.port,
                    ssl=address.tls,
                    server_hostname=name,
                )
        except (OSError, TimeoutError) as error:
            self.happened(Disconnected(str(error) or "no answer in time"))

    def _write(self, data: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self.flush)
        self._out.append(data)


class _Connection(asyncio.Protocol):
    """One connection's bytes."""

    def __init__(self, client: AsyncMqttClient, hello: bytes) -> None:
        self._client, self._hello = client, hello
        self._buffer = b""
        self._refused = "the broker closed the connection"
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (found := _first_packet(self._buffer)) is not None:
            first, start, end = found
            body, self._buffer = self._buffer[start:end], self._buffer[end:]
            if first != _CONNACK:
                self._client.packet(first, body)
            elif body[1:2] == b"\0" and self._transport is not None:
                self._client.opened(self._transport)
            elif self._transport is not None:
                self._refused = f"the broker refused with code {body[1]}"
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.closed(str(exc) if exc else self._refused)


def _first_packet(buffer: bytes) -> tuple[int, int, int] | None:
    """Return type, begin and end of the body of the first packet, None if it is not complete."""
    length = 0
    for at in range(1, min(len(buffer), 5)):
        length |= (buffer[at] & 0x7F) << 7 * (at - 1)
        if not buffer[at] & 0x80:
            end = at + 1 + length
            return (buffer[0], at + 1, end) if end <= len(buffer) else None
    return None
