"""The receiver's MQTT, against packets that paho makes and against a real Mosquitto (test_ingest)."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import PeerError
from edge_hub.ingest import mqtt_stream
from edge_hub.ingest.mqtt_stream import Connected, Publish, Stream, Subscribed

topics = st.text("ab/+é", max_size=40).map(lambda t: t.encode())
messages = st.builds(
    Publish, topics, st.binary(max_size=300), st.integers(0, 65_535), st.booleans(), st.just(0)
)


def packet(message: Publish) -> bytes:
    """MQTT 3.1.1, section 3.3, written from the specification."""
    first = 0x30 | (0x02 if message.mid else 0) | (1 if message.retain else 0)
    body = len(message.topic).to_bytes(2, "big") + message.topic
    body += message.mid.to_bytes(2, "big") if message.mid else b""
    body += message.payload
    length, left = b"", len(body)
    while True:
        left, digit = divmod(left, 128)
        length += bytes([digit | (0x80 if left else 0)])
        if not left:
            return bytes([first]) + length + body


@given(st.lists(messages, max_size=8), st.randoms(use_true_random=False))
def test_messages_come_out_as_they_went_in_however_the_bytes_are_cut(
    sent: list[Publish], chance: random.Random
) -> None:
    data = b"\x20\x02\x00\x00\x90\x04\x00\x01\x01\x80" + b"".join(map(packet, sent))
    stream, heard, answers = Stream(), [], []
    while data:
        cut = chance.randint(1, 20)
        found, more = stream.feed(data[:cut])
        heard += found
        answers += more
        data = data[cut:]
    assert heard == sent
    assert answers == [Connected(""), Subscribed(1)]


def test_a_packet_that_is_too_long_is_reported_and_skipped() -> None:
    huge = Publish(b"edge/v1/f/d/up/telemetry", bytes(mqtt_stream.MAX_PACKET + 5), 7, False)
    small = Publish(b"t", b"x", 8, False)
    stream, heard, data = Stream(), [], packet(huge) + packet(small)
    for at in range(0, len(data), 60_000):
        heard += stream.feed(data[at : at + 60_000])[0]
    assert heard == [huge._replace(payload=b"", oversize=len(packet(huge)) - 4), small]


@pytest.mark.parametrize(
    "data", [b"\x32\xff\xff\xff\xff\x01", b"\x32\x01\x00", b"\x32\x04\x00\x09ab", b"\x32\x04\x00\x02ab"]
)
def test_what_is_not_mqtt_ends_the_connection(data: bytes) -> None:
    with pytest.raises(PeerError, match="broker"):
        Stream().feed(data)


def test_a_refusal_is_named() -> None:
    assert Stream().feed(b"\x20\x02\x00\x05") == ([], [Connected("not authorized")])


@given(st.binary(max_size=100))
def test_noise_never_does_more_than_end_the_connection(data: bytes) -> None:
    with contextlib.suppress(PeerError):
        Stream().feed(data)
