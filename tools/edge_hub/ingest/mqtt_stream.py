"""MQTT 3.1.1 as a receiver speaks it: bytes in, packets out, and the few packets it sends. No I/O.

Theory of operation. An ingest worker must acknowledge a message after the commit and not before, in one write
for a whole batch, and spend little on each. paho costs 52 µs of processor time per message and gmqtt 23 on
this path (the second acknowledges later only in MQTT 5, with a task per message); reading PUBLISH here costs
2 (``python -m benchmarks.hub``). What is spoken is the receiver's subset: CONNECT, SUBSCRIBE, PUBLISH in at
QoS 0 and 1, PUBACK, PUBLISH out, PINGREQ, DISCONNECT. Every other client of the hub is paho's.

A packet that is longer than `MAX_PACKET` is not held in memory: its head is reported, the rest is skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edge_agent.errors import PeerError

MAX_PACKET = 1024 * 1024
_CONNACK, _PUBLISH, _SUBACK = 0x20, 0x30, 0x90
_REFUSALS = {
    1: "unacceptable protocol version",
    2: "identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorized",
}


class Publish(NamedTuple):
    """A message. ``mid`` is 0 at QoS 0. ``oversize`` is its length where it was too long to be kept."""

    topic: bytes
    payload: bytes
    mid: int
    retain: bool
    oversize: int = 0


class Connected(NamedTuple):
    """The broker's answer to CONNECT; ``refused`` is "" if it accepts."""

    refused: str


class Subscribed(NamedTuple):
    """The broker's answer to SUBSCRIBE; ``refused`` counts the filters that it does not grant."""

    refused: int


class Stream:
    """One connection's bytes; a new connection needs a new one."""

    def __init__(self) -> None:
        self._held = b""
        self._skip = 0

    def feed(self, data: bytes) -> tuple[list[Publish], list[Connected | Subscribed]]:
        """Take bytes in; return the messages and the answers that are complete now.

        Raises
        ------
        PeerError
            This is not MQTT.
        """
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        buffer = self._held + data if self._held else data
        messages: list[Publish] = []
        answers: list[Connected | Subscribed] = []
        at, end = 0, len(buffer)
        while end - at >= 2:
            length, body = buffer[at + 1], at + 2
            if length & 0x80:
                length, body = _long_length(buffer, at + 1, end)
                if not body:
                    break
            first = buffer[at]
            if body + length > end:
                if length > MAX_PACKET and first & 0xF0 == _PUBLISH:
                    head = _oversize(first, buffer[body:end], length)
                    if head is not None:
                        messages.append(head)
                        self._skip = body + length - end
                        at = end
                break
            if first & 0xF0 == _PUBLISH:
                messages.append(_publish(first, buffer, body, length))
            elif first == _CONNACK and length == 2:
                code = buffer[body + 1]
                answers.append(Connected(_REFUSALS.get(code, f"code {code}") if code else ""))
            elif first == _SUBACK and length >= 3:
                granted = buffer[body + 2 : body + length]
                answers.append(Subscribed(sum(code == 0x80 for code in granted)))
            at = body + length
        self._held = buffer[at:]
        return messages, answers


def _long_length(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a length of two to four bytes and where it ends; (0, 0) if it is not complete."""
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


def _publish(first: int, buffer: bytes, at: int, length: int) -> Publish:
    end = at + length
    if length < 2:
        raise PeerError("broker: PUBLISH without a topic")
    start = at + 2 + (buffer[at] << 8 | buffer[at + 1])
    mid = 0
    topic = buffer[at + 2 : start]
    if first & 0x06:
        if start + 2 > end:
            raise PeerError("broker: PUBLISH is shorter than its head")
        mid = buffer[start] << 8 | buffer[start + 1]
        start += 2
    if start > end:
        raise PeerError("broker: PUBLISH is shorter than its head")
    return Publish(topic, buffer[start:end], mid, bool(first & 0x01))


def _oversize(first: int, head: bytes, length: int) -> Publish | None:
    """Return a message without its payload once its head is there."""
    if len(head) < 2:
        return None
    start = 2 + (head[0] << 8 | head[1])
    if len(head) < start + 2:
        return None
    mid = head[start] << 8 | head[start + 1] if first & 0x06 else 0
    return Publish(head[2:start], b"", mid, bool(first & 0x01), length)


def connect(client_id: str, clean: bool, keepalive: int, username: str = "", password: str = "") -> bytes:
    """Return CONNECT; ``keepalive`` in seconds."""
    flags = (0x02 if clean else 0) | (0x80 if username else 0) | (0x40 if password else 0)
    parts = [text_field("MQTT"), bytes([4, flags]), struct.pack("!H", keepalive), text_field(client_id)]
    parts += [text_field(text) for text in (username, password) if text]
    return packet(0x10, b"".join(parts))


def subscribe(filters: Sequence[str], mid: int) -> bytes:
    """Return SUBSCRIBE to topic filters at QoS 1."""
    return packet(0x82, struct.pack("!H", mid) + b"".join(text_field(f) + b"\x01" for f in filters))


def acknowledge(mids: Iterable[int]) -> bytes:
    """Return one PUBACK for each message that has an identifier."""
    return b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids if mid])


def publish(topic: str, payload: bytes, mid: int) -> bytes:
    """Return PUBLISH at QoS 1."""
    return packet(0x32, text_field(topic) + struct.pack("!H", mid) + payload)


PING = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"


def packet(first: int, body: bytes) -> bytes:
    """Return a packet: first byte, length of ``body`` (MQTT 3.1.1 section 2.2.3), ``body``."""
    length, head = len(body), bytearray([first])
    while True:
        length, byte = length >> 7, length & 0x7F
        head.append(byte | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


def text_field(text: str) -> bytes:
    """Return a text as MQTT writes it: two bytes of length, UTF-8 (MQTT 3.1.1 section 1.5.3)."""
    raw = text.encode("utf-8")
    return struct.pack("!H", len(raw)) + raw
