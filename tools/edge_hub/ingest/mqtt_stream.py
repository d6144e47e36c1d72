"""MQTT 3.1.1 as a receiver speaks it: bytes in, packets out, and the few packets it sends. No I/O.

Theory of operation. An ingest worker must acknowledge a message after the commit and not before, in one write
for a whole batch, and spend little on each. paho costs 52 µs of processor time per message and gmqtt 23 on
this path (the second acknowledges later only in MQTT 5, with a task per message); reading PUBLISH here costs
2 (``python -m benchmarks.hub``). What is spoken is the receiver's subset: CONNECT, SUBSCRIBE, PUBLISH in at
QoS 0 and 1, PUBACK, PUBLISH out, PINGREQ, DISCONNECT. Every other client of the hub is paho's.

A packet that is longer than `MAX_PACKET` is not held in memory: its head is reported, the rest is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edge_agent.wire.mqtt_packets import (
    CONNACK,
    PUBLISH,
    QOS,
    RETAIN,
    SUBACK,
    TYPE,
    long_length,
    packet,
    read_publish,
    text_field,
)

MAX_PACKET = 1024 * 1024
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
                length, body = long_length(buffer, at + 1, end)
                if not body:
                    break
            first = buffer[at]
            if body + length > end:
                if length > MAX_PACKET and first & TYPE == PUBLISH:
                    head = _oversize(first, buffer[body:end], length)
                    if head is not None:
                        messages.append(head)
                        self._skip = body + length - end
                        at = end
                break
            if first & TYPE == PUBLISH:
                topic, mid, payload = read_publish(first, buffer, body, length)
                messages.append(Publish(topic, payload, mid, bool(first & RETAIN)))
            elif first == CONNACK and length == 2:
                code = buffer[body + 1]
                answers.append(Connected(_REFUSALS.get(code, f"code {code}") if code else ""))
            elif first == SUBACK and length >= 3:
                granted = buffer[body + 2 : body + length]
                answers.append(Subscribed(sum(code == 0x80 for code in granted)))
            at = body + length
        self._held = buffer[at:]
        return messages, answers


def _oversize(first: int, head: bytes, length: int) -> Publish | None:
    """Return a message without its payload once its head is there."""
    if len(head) < 2:
        return None
    start = 2 + (head[0] << 8 | head[1])
    if len(head) < start + 2:
        return None
    mid = head[start] << 8 | head[start + 1] if first & QOS else 0
    return Publish(head[2:start], b"", mid, bool(first & RETAIN), length)


def connect(client_id: str, clean: bool, keepalive: int, username: str = "", password: str = "") -> bytes:
    """Return CONNECT; ``keepalive`` in seconds."""
    flags = (0x02 if clean else 0) | (0x80 if username else 0) | (0x40 if password else 0)
    parts = [text_field("MQTT"), bytes([4, flags]), keepalive.to_bytes(2, "big"), text_field(client_id)]
    parts += [text_field(text) for text in (username, password) if text]
    return packet(0x10, b"".join(parts))


def subscribe(filters: Sequence[str], mid: int) -> bytes:
    """Return SUBSCRIBE to topic filters at QoS 1."""
    return packet(0x82, mid.to_bytes(2, "big") + b"".join(text_field(f) + b"\x01" for f in filters))


def acknowledge(mids: Iterable[int]) -> bytes:
    """Return one PUBACK for each message that has an identifier."""
    return b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids if mid])


def publish(topic: str, payload: bytes, mid: int) -> bytes:
    """Return PUBLISH at QoS 1."""
    return packet(0x32, text_field(topic) + mid.to_bytes(2, "big") + payload)


PING = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
