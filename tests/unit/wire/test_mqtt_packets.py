"""Packets that device and hub write and read themselves, against paho's own encoding and paho as a reader."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from edge_agent.errors import PeerError
from edge_agent.wire.mqtt_packets import (
    MAX_LENGTH,
    length_bytes,
    long_length,
    packet,
    publish_0,
    read_publish,
    text_field,
)
from tests.support import unix_broker

topics = st.text("ab/é", min_size=1, max_size=40)
payloads = st.binary(max_size=300)


@given(st.integers(0, MAX_LENGTH), st.binary(max_size=3))
def test_lengths_are_those_that_paho_writes(length: int, after: bytes) -> None:
    found = length_bytes(length)
    assert found == bytes(VariableByteIntegers.encode(length))
    assert long_length(found + after, 0, len(found + after)) == (length, len(found))
    assert long_length(found, 0, len(found) - 1) == (0, 0)


def test_a_length_of_five_bytes_is_none() -> None:
    with pytest.raises(PeerError, match="more than four bytes"):
        long_length(b"\xff\xff\xff\xff\x01", 0, 5)


@given(topics, payloads, st.integers(0, 65_535), st.booleans(), st.integers(0, 30))
def test_a_message_is_read_whatever_its_properties(
    topic: str, payload: bytes, mid: int, five: bool, users: int
) -> None:
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("name", "value")] * users
    body = text_field(topic) + (mid.to_bytes(2) if mid else b"") + (properties.pack() if five else b"")
    first = 0x32 if mid else 0x30
    data = packet(first, body + payload)
    length, start = long_length(data, 1, len(data))
    assert read_publish(first, data, start, length, five) == (topic.encode(), mid, payload)


@pytest.mark.parametrize(
    ("first", "body", "five"),
    [
        (0x30, b"\x00", False),
        (0x30, b"\x00\x03ab", False),
        (0x32, b"\x00\x02ab\x01", False),
        (0x30, b"\x00\x01a", True),
        (0x30, b"\x00\x01a\x05x", True),
        (0x30, b"\x00\x01a\x85", True),
        (0x30, b"\x00\x01a\xff\xff\xff\xff\x01", True),
    ],
)
def test_a_message_shorter_than_its_head_is_an_error(first: int, body: bytes, five: bool) -> None:
    with pytest.raises(PeerError):
        read_publish(first, body + b"more", 0, len(body), five)


class Reader:
    """paho, with what it reads handed to it over a socket."""

    def __init__(self, five: bool) -> None:
        self.heard: list[tuple[str, bytes, int, bool]] = []
        version = MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=version, transport="unix")
        self.client.on_message = self._hear
        self.broker = unix_broker.accept(self.client)
        self.broker.sendall(b"\x20\x03\0\0\0" if five else b"\x20\x02\0\0")
        self.client.loop_read()

    def _hear(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload, message.qos, message.retain))

    def close(self) -> None:
        self.client.disconnect()
        self.broker.close()


@settings(deadline=None, max_examples=30)
@given(st.booleans(), st.lists(st.tuples(topics, payloads, st.booleans()), min_size=1, max_size=5))
def test_paho_reads_what_is_written(five: bool, sent: list[tuple[str, bytes, bool]]) -> None:
    reader = Reader(five)
    for topic, payload, retain in sent:
        reader.broker.sendall(publish_0(topic, payload, retain, five))
        reader.client.loop_read()
    reader.close()
    assert reader.heard == [(topic, payload, 0, retain) for topic, payload, retain in sent]
