"""What a broker sends: packets of MQTT 3.1.1 and 5, in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.adapters.mqtt_incoming import MqttIncoming
from edge_agent.adapters.packet_lengths import OversizeError
from edge_agent.protocol.ports import Received
from edge_agent.wire.mqtt_packets import packet, publish_0, text_field

LIMIT, MAX_PAYLOAD = 4096, 3000


def decode(data: bytes) -> None:
    """The first byte is the version, the length of the pieces and the room of a turn; the rest is sent."""
    if not data:
        return
    incoming = MqttIncoming(LIMIT, MAX_PAYLOAD, properties=bool(data[0] & 1))
    piece, room = 1 + (data[0] >> 1 & 7) * 61, 1 << (data[0] >> 4)
    sent, taken = data[1:], 0
    with suppress(OversizeError):
        for at in range(0, len(sent), piece):
            incoming.feed(sent[at : at + piece])
            again = True
            while again:
                taken += sum(_length(item) for item in incoming.take(room))
                again = incoming.ready
    assert taken <= len(sent), "more came out than went in"


def _length(item: list[Received] | bytes) -> int:
    if isinstance(item, bytes):
        return len(item)
    return sum(len(message.topic.encode()) + len(message.payload) for message in item)


def seed() -> bytes:
    """Return one input that is right."""
    return b"\xf0" + publish_0("z/room-1", b"21.5", retain=False)


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.UserProperty = ("unit", "°C")
    properties.MessageExpiryInterval = 60
    packed = bytes(properties.pack())  # type: ignore[no-untyped-call]
    answers = b"\x20\x03\0\0\0" + b"\x90\x04\0\1\0\1" + b"\x40\2\0\1" + b"\xd0\0"
    for first in (b"\x03", b"\xf5"):
        yield first + answers + packet(0x31, text_field("z/room-1") + packed + b"on")
        yield first + packet(0x32, text_field("t") + b"\0\7" + packed + bytes(200))
    yield b"\x00" + packet(0x30, text_field("t") + bytes(MAX_PAYLOAD + 10)) + publish_0("t", b"", False)
    yield b"\x02\x30\xff\xff\xff\x7f" + text_field("z/room-1")
    yield b"\x02\x30\xff\xff\xff\xff\x01"
    yield b"\x04" + packet(0x34, text_field("t") + b"\0\1x")
    yield b"\x05" + packet(0x30, b"\0\2\xff\xfe\0")
