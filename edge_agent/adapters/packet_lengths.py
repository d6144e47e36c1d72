"""Reads the length of each MQTT packet from its fixed header, before the packet itself is read.

Theory of operation. A fixed header (MQTT 5.0 section 2.1, the same in 3.1.1) is one byte for type and flags
and one to four for the length of what follows. `PacketLengths.check` receives every byte from the broker, in
pieces of any size, and stores only its position in the packet. A packet above the limit is refused with
`OversizeError`. The topic of a PUBLISH, at most 64 KiB, is read first, so that the error can name it. A
PUBLISH with QoS 2 is refused too: no subscription requests it, and a client must store such messages until
the broker releases them, which a hostile broker never does.

The reader asks `allowed` how many bytes it may read at once, so that nothing after the topic of a refused
packet is read from the socket.
"""

from __future__ import annotations

from edge_agent.wire.mqtt_packets import PUBLISH, TYPE

QOS_2 = 0x04
"""The bit of a PUBLISH's first byte that QoS 2 alone sets."""
_MORE = 0x80
_MOST_SHIFT = 21  # four bytes of seven bits
LENGTH_BYTES = 2  # before a topic


class OversizeError(ConnectionError):
    """The broker sent a packet that this device doesn't read; the connection must end."""


def too_long(what: str, length: int, limit: int, topic: bytes | None = None) -> OversizeError:
    """Return the error for a packet or message of ``length`` bytes, with its topic if that was read."""
    where = "" if topic is None else f" on topic {topic.decode('utf-8', 'replace')!r}"
    return OversizeError(f"the broker sent a {what} of {length} bytes{where}, expected at most {limit}")


def with_qos_2() -> OversizeError:
    """Return the error for a message with QoS 2."""
    return OversizeError("the broker sent a message with QoS 2, which was not asked for")


class PacketLengths:
    """Where in the broker's stream of packets the reader is.

    Parameters
    ----------
    limit : int
        The most bytes after the fixed header.
    """

    def __init__(self, limit: int) -> None:
        self.packets = 0
        """Fixed headers read."""
        self.refused: OversizeError | None = None
        """Why the connection must end; the topic is added when it has been read."""
        self._limit = limit
        self._command: int | None = None
        self._length = self._shift = 0
        self._body = 0
        self._topic: bytearray | None = None

    def allowed(self, size: int) -> int:
        """Return how many of ``size`` bytes may be read at once."""
        return size if self._topic is None else min(size, self._topic_needs())

    def check(self, data: bytes) -> None:
        """Follow the stream by ``data``.

        Raises
        ------
        OversizeError
            A packet is too long, or is one that was not asked for.
        """
        at = 0
        while at < len(data):
            if self._topic is not None:
                piece = data[at : at + self._topic_needs()]
                self._topic += piece
                at += len(piece)
                if not self._topic_needs():
                    name = bytes(self._topic[LENGTH_BYTES:])
                    self.refused = too_long("message", self._length, self._limit, name)
                    raise self.refused
            elif self._body:
                step = min(self._body, len(data) - at)
                self._body -= step
                at += step
            else:
                self._header(data[at])
                at += 1

    def _header(self, byte: int) -> None:
        if self._command is None:
            self._command, self._length, self._shift = byte, 0, 0
            return
        self._length |= (byte & ~_MORE) << self._shift
        if byte & _MORE:
            self._shift += 7
            if self._shift > _MOST_SHIFT:
                raise OversizeError("the broker sent a length of more than four bytes")
            return
        self.packets += 1
        command, self._command = self._command, None
        publish = command & TYPE == PUBLISH
        if publish and command & QOS_2:
            self.refused = with_qos_2()
            raise self.refused
        self._body = self._length
        if self._length <= self._limit:
            return
        self.refused = too_long("message" if publish else "packet", self._length, self._limit)
        if not publish:
            raise self.refused
        self._topic = bytearray()

    def _topic_needs(self) -> int:
        topic = self._topic or b""
        if len(topic) < LENGTH_BYTES:
            return LENGTH_BYTES - len(topic)
        return LENGTH_BYTES + int.from_bytes(topic[:LENGTH_BYTES]) - len(topic)
