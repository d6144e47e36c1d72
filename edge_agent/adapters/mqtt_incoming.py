"""Separates the QoS 0 messages of a connection from its other packets, which are paho's to read. No I/O.

Theory of operation. `MqttIncoming` holds the bytes that have been read from the broker and are not taken yet.
`take` returns what is complete, in order: messages with QoS 0 as events, other packets as their bytes. A
packet above the limit is refused as soon as its fixed header and topic are there, and a message with QoS 2 at
once, as by `adapters.packet_lengths`. `take` stops when it has returned as many bytes as there is room for,
so that a flood of small messages does not become more events than the loop has memory for.
"""

from __future__ import annotations

from edge_agent.adapters.mqtt_inbox import EVENT_BYTES
from edge_agent.adapters.packet_lengths import LENGTH_BYTES, QOS_2, OversizeError, too_long, with_qos_2
from edge_agent.errors import PeerError
from edge_agent.protocol.ports import Received
from edge_agent.wire.mqtt_packets import PUBLISH, QOS, RETAIN, TYPE, long_length, read_publish


class MqttIncoming:
    """The bytes of one connection.

    Parameters
    ----------
    limit : int
        The most bytes of a packet after its fixed header.
    max_payload : int
        The most bytes of a message; longer ones are dropped and counted.
    properties : bool
        Whether the connection is one of MQTT 5.
    """

    def __init__(self, limit: int, max_payload: int, properties: bool) -> None:
        self.packets = 0
        """Packets taken."""
        self.too_long = 0
        """Messages that were dropped for their length."""
        self.ready = False
        """Whether `take` has more to return at once."""
        self._limit = limit
        self._max_payload = max_payload
        self._properties = properties
        self._held = b""
        self._failure: OversizeError | PeerError | None = None

    def feed(self, data: bytes) -> None:
        """Add bytes from the broker."""
        self._held = self._held + data if self._held else data

    def take(self, room: int) -> list[list[Received] | bytes]:
        """Return messages with QoS 0, those of a run together, and the bytes of other packets, until they
        have ``room`` bytes.

        Raises
        ------
        OversizeError
            A packet is too long, or is one that was not asked for. What came before it was returned first.
        PeerError
            This is not MQTT.
        """
        found: list[list[Received] | bytes] = []
        if self._failure is None:
            self._take(found, room)
        if self._failure is not None:
            self.ready = bool(found)
            if not found:
                raise self._failure
        return found

    def _take(self, found: list[list[Received] | bytes], room: int) -> None:
        buffer, at, end = self._held, 0, len(self._held)
        run: list[Received] | None = None
        self.ready = False
        try:
            while end - at >= 2:
                first, length, body = buffer[at], buffer[at + 1], at + 2
                if length & 0x80:
                    length, body = long_length(buffer, at + 1, end)
                    if not body:
                        break
                unwanted = length > self._limit or (first & TYPE == PUBLISH and first & QOS_2)
                if unwanted and not self._refuse(first, length, buffer[body:end]):
                    break
                stop = body + length
                if stop > end:
                    break
                if room <= 0:
                    self.ready = True
                    break
                if first & (TYPE | QOS) != PUBLISH:
                    found.append(buffer[at:stop])
                    run = None
                elif (message := self._message(first, buffer, body, length)) is not None:
                    if run is None:
                        found.append(run := [])
                    run.append(message)
                room -= EVENT_BYTES + length
                self.packets += 1
                at = stop
        except (OversizeError, PeerError) as error:
            self._failure, at = error, end
        self._held = buffer[at:]

    def _message(self, first: int, buffer: bytes, body: int, length: int) -> Received | None:
        topic, _, payload = read_publish(first, buffer, body, length, self._properties)
        if len(payload) > self._max_payload:
            self.too_long += 1
            return None
        try:
            name = topic.decode()
        except UnicodeDecodeError as error:
            raise PeerError(f"broker: topic {topic!r} is not UTF-8") from error
        return Received(name, payload, 0, bool(first & RETAIN))

    def _refuse(self, first: int, length: int, rest: bytes) -> bool:
        """Raise OversizeError; return False as long as the topic to be named is not complete."""
        if first & TYPE == PUBLISH:
            if first & QOS_2:
                raise with_qos_2()
            size = LENGTH_BYTES + int.from_bytes(rest[:LENGTH_BYTES], "big")
            if len(rest) < LENGTH_BYTES or len(rest) < size:
                return False
            raise too_long("message", length, self._limit, rest[LENGTH_BYTES:size])
        raise too_long("packet", length, self._limit)
