"""Lengths of MQTT packets: what paho's own packets say, cut anywhere, and what must not be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import VariableByteIntegers

from edge_agent.adapters.packet_lengths import OversizeError, PacketLengths

LIMIT = 300_000


def length_bytes(length: int) -> bytes:
    """Return the length as paho encodes it."""
    return bytes(VariableByteIntegers.encode(length))


def publish(topic: bytes, payload: bytes, flags: int = 0) -> bytes:
    body = len(topic).to_bytes(2) + topic + payload
    return bytes([PacketTypes.PUBLISH << 4 | flags]) + length_bytes(len(body)) + body


def feed(lengths: PacketLengths, stream: bytes, cuts: list[int]) -> int:
    """Give the stream in pieces as a reader would that asks for ``cuts`` bytes; return how many it read."""
    at = turn = 0
    while at < len(stream):
        wanted = lengths.allowed(cuts[turn % len(cuts)])
        piece = stream[at : at + wanted]
        at, turn = at + len(piece), turn + 1
        try:
            lengths.check(piece)
        except OversizeError:
            return at
    return at


@given(
    st.lists(st.integers(0, 20_000), max_size=6),
    st.lists(st.integers(1, 5000), min_size=1, max_size=5),
)
def test_packets_within_the_limit_pass_however_they_are_cut(sizes: list[int], cuts: list[int]) -> None:
    stream = b"".join(publish(b"z/room", bytes(size)) for size in sizes) + b"\xd0\x00"
    lengths = PacketLengths(LIMIT)
    assert feed(lengths, stream, cuts) == len(stream)
    assert (lengths.packets, lengths.refused) == (len(sizes) + 1, None)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=5))
def test_a_message_too_long_is_refused_with_its_topic_and_no_byte_of_it_is_read(cuts: list[int]) -> None:
    topic = "z/räume/1".encode()
    before = publish(b"a", b"fits")
    head = bytes([PacketTypes.PUBLISH << 4]) + length_bytes(100_000_000) + len(topic).to_bytes(2) + topic
    lengths = PacketLengths(LIMIT)
    stream = before + head + bytes(50_000)
    one_by_one = [1] * (len(before) + 5) + [min(cuts)]
    assert feed(lengths, stream, one_by_one) == len(before) + len(head)
    assert str(lengths.refused) == (
        f"the broker sent a message of 100000000 bytes on topic 'z/räume/1', expected at most {LIMIT}"
    )


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"\x20" + length_bytes(268_435_455), "a packet of 268435455 bytes"),
        (publish(b"z", b"x", flags=0x04), "QoS 2"),
        (publish(b"z", b"x", flags=0x06), "QoS 2"),
        (b"\x30\xff\xff\xff\xff\x01", "more than four bytes"),
    ],
)
def test_what_is_not_to_be_read_ends_the_connection(stream: bytes, words: str) -> None:
    with pytest.raises(OversizeError, match=words):
        PacketLengths(LIMIT).check(stream)


def test_the_limit_itself_passes() -> None:
    PacketLengths(LIMIT).check(b"\x30" + length_bytes(LIMIT))
    lengths = PacketLengths(LIMIT)
    lengths.check(b"\x30" + length_bytes(LIMIT + 1))
    assert "a message of 300001 bytes, expected at most 300000" in str(lengths.refused)
