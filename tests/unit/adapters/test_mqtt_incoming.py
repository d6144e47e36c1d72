"""Messages with QoS 0 are separated from what paho reads, cut anywhere; what must not be read is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.adapters.mqtt_incoming import EVENT_BYTES, MqttIncoming
from edge_agent.adapters.packet_lengths import OversizeError
from edge_agent.errors import PeerError
from edge_agent.protocol.ports import Received
from edge_agent.wire.mqtt_packets import length_bytes, packet, text_field

LIMIT, MAX_PAYLOAD, PLENTY = 2000, 1000, 1 << 30
messages = st.builds(
    Received,
    st.text("ab/é", min_size=1, max_size=20),
    st.binary(max_size=300),
    st.just(0),
    st.booleans(),
    st.none(),
)
others = st.one_of(
    st.just(b"\xd0\x00"),
    st.just(b"\x40\x02\x00\x07"),
    st.binary(max_size=300).map(lambda payload: packet(0x32, b"\0\1t\0\7\0" + payload)),
)


def encoded(item: Received | bytes, five: bool) -> bytes:
    """Return an item as a broker sends it, with properties that paho makes."""
    if isinstance(item, bytes):
        return item
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = ("unit", "°C")
    body = text_field(item.topic) + (properties.pack() if five else b"") + item.payload
    return packet(0x31 if item.retain else 0x30, body)


def taken(incoming: MqttIncoming, room: int) -> list[Received | bytes]:
    """Take until there is no more; return messages one by one."""
    found = incoming.take(room)
    while incoming.ready:
        found += incoming.take(room)
    return [item for part in found for item in (part if isinstance(part, list) else [part])]


@given(
    st.lists(st.one_of(messages, others), max_size=8),
    st.lists(st.integers(1, 200), min_size=1, max_size=5),
    st.integers(1, 2000),
    st.booleans(),
)
def test_everything_comes_out_once_and_in_order_however_it_is_cut(
    items: list[Received | bytes], cuts: list[int], room: int, five: bool
) -> None:
    data = b"".join(encoded(item, five) for item in items)
    incoming, found, turn = MqttIncoming(LIMIT, MAX_PAYLOAD, five), list[Received | bytes](), 0
    while data:
        cut = cuts[turn % len(cuts)]
        incoming.feed(data[:cut])
        found += taken(incoming, room)
        data, turn = data[cut:], turn + 1
    assert found == items
    assert (incoming.packets, incoming.too_long) == (len(items), 0)


def test_a_turn_takes_no_more_than_it_has_room_for() -> None:
    incoming = MqttIncoming(LIMIT, MAX_PAYLOAD, properties=False)
    incoming.feed(packet(0x30, b"\0\1t") * 10_000)
    (found,) = incoming.take(10 * EVENT_BYTES)
    assert 5 <= len(found) <= 10
    assert incoming.ready
    assert len(found) + len(taken(incoming, PLENTY)) == 10_000
    assert not incoming.ready


def test_a_payload_too_long_is_dropped_and_counted() -> None:
    incoming = MqttIncoming(LIMIT, MAX_PAYLOAD, properties=False)
    for size in (MAX_PAYLOAD + 1, MAX_PAYLOAD):
        incoming.feed(packet(0x30, b"\0\1t" + bytes(size)))
    assert taken(incoming, PLENTY) == [Received("t", bytes(MAX_PAYLOAD))]
    assert (incoming.too_long, incoming.packets) == (1, 2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x20" + length_bytes(268_435_455), "a packet of 268435455 bytes, expected at most 2000"),
        (
            b"\x31" + length_bytes(100_000_000) + text_field("z/räume/1"),
            "a message of 100000000 bytes on topic 'z/räume/1', expected at most 2000",
        ),
        (b"\x30" + length_bytes(LIMIT + 1) + b"\0\0", "a message of 2001 bytes on topic '', expected"),
        (packet(0x34, b"\0\1z\0\1x"), "QoS 2"),
        (packet(0x36, b"\0\1z\0\1x"), "QoS 2"),
    ],
)
def test_what_is_not_to_be_read_is_refused_after_what_came_before(data: bytes, words: str) -> None:
    before = packet(0x30, text_field("a") + b"1")
    for cut in range(1, len(data)):
        incoming = MqttIncoming(LIMIT, MAX_PAYLOAD, properties=False)
        incoming.feed(before + data[:cut])
        found = incoming.take(PLENTY)
        assert found == [[Received("a", b"1")]]
        incoming.feed(data[cut:])
        with pytest.raises(OversizeError, match=words):
            taken(incoming, PLENTY)


def test_the_limit_itself_passes() -> None:
    incoming = MqttIncoming(LIMIT, LIMIT, properties=False)
    incoming.feed(packet(0x30, b"\0\1t" + bytes(LIMIT - 3)))
    assert taken(incoming, PLENTY) == [Received("t", bytes(LIMIT - 3))]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x30\xff\xff\xff\xff\x01", "more than four bytes"),
        (packet(0x30, b"\0\2\xff\xfe"), "is not UTF-8"),
        (packet(0x30, b"\0\5ab"), "shorter than its head"),
        (packet(0x30, b"\0"), "without a topic"),
    ],
)
def test_what_is_no_mqtt_is_refused_for_good(data: bytes, words: str) -> None:
    incoming = MqttIncoming(LIMIT, MAX_PAYLOAD, properties=False)
    incoming.feed(data)
    for _ in range(2):
        with pytest.raises(PeerError, match=words):
            taken(incoming, PLENTY)
        incoming.feed(packet(0x30, b"\0\1t"))
