"""Bytes of MQTT packets that device and hub write and read themselves: headers, texts and PUBLISH. No I/O.

Theory of operation. A packet (MQTT 3.1.1 section 2.2, MQTT 5 section 2.1) is one byte for type and flags, one
to four bytes for the length of what follows, and that. A PUBLISH has a topic, an identifier unless its QoS is
0, in MQTT 5 properties, and the payload. Properties are skipped when read and empty when written.
"""

from __future__ import annotations

from edge_agent.errors import PeerError

CONNACK, PUBLISH, SUBACK, DISCONNECT = 0x20, 0x30, 0x90, 0xE0
TYPE, QOS, RETAIN = 0xF0, 0x06, 0x01
"""Bits of the first byte."""
MAX_LENGTH = 268_435_455
_SHORT = "broker: PUBLISH is shorter than its head"


def length_bytes(length: int) -> bytes:
    """Return a length, at most `MAX_LENGTH`, in one to four bytes (MQTT 3.1.1 section 2.2.3)."""
    if length < 0x80:
        return bytes((length,))
    head = bytearray()
    while True:
        length, byte = length >> 7, length & 0x7F
        head.append(byte | (0x80 if length else 0))
        if not length:
            return bytes(head)


def packet(first: int, body: bytes) -> bytes:
    """Return a packet: first byte, length of ``body``, ``body``."""
    return bytes((first,)) + length_bytes(len(body)) + body


def text_field(text: str) -> bytes:
    """Return a text as MQTT writes it: two bytes of length, UTF-8 (MQTT 3.1.1 section 1.5.3)."""
    raw = text.encode("utf-8")
    return len(raw).to_bytes(2, "big") + raw


def long_length(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a length of one to four bytes and where it ends; (0, 0) if it is not complete.

    Raises
    ------
    PeerError
        It has more than four bytes.
    """
    length = shift = 0
    for place in range(at, min(end, at + 4)):
        byte = buffer[place]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return length, place + 1
    if shift == 28:
        raise PeerError("broker: a packet's length has more than four bytes")
    return 0, 0


def read_publish(
    first: int, buffer: bytes, at: int, length: int, properties: bool = False
) -> tuple[bytes, int, bytes]:
    """Return topic, identifier (0 at QoS 0) and payload of the PUBLISH whose ``length`` bytes begin at
    ``at``.

    ``properties`` says that the connection is one of MQTT 5.

    Raises
    ------
    PeerError
        It is shorter than what it says of itself.
    """
    end = at + length
    if length < 2:
        raise PeerError("broker: PUBLISH without a topic")
    start = at + 2 + (buffer[at] << 8 | buffer[at + 1])
    topic = buffer[at + 2 : start]
    mid = 0
    if first & QOS:
        if start + 2 > end:
            raise PeerError(_SHORT)
        mid = buffer[start] << 8 | buffer[start + 1]
        start += 2
    if properties and start < end:
        skipped = buffer[start]
        start += 1
        if skipped & 0x80:
            skipped, start = long_length(buffer, start - 1, end)
            if not start:
                raise PeerError(_SHORT)
        start += skipped
    elif properties:
        raise PeerError(_SHORT)
    if start > end:
        raise PeerError(_SHORT)
    return topic, mid, buffer[start:end]


def publish_0(topic: str, payload: bytes, retain: bool, properties: bool = False) -> bytes:
    """Return PUBLISH at QoS 0; ``properties`` says that the connection is one of MQTT 5."""
    raw = topic.encode("utf-8")
    head = len(raw).to_bytes(2, "big") + raw + (b"\0" if properties else b"")
    length = length_bytes(len(head) + len(payload))
    return b"".join((b"\x31" if retain else b"\x30", length, head, payload))
