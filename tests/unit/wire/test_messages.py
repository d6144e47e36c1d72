"""The envelope: encoded messages are decoded unchanged, and foreign bytes raise only PeerError."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire import messages, topics

bodies = st.dictionaries(
    st.text(max_size=8),
    st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=64),
    max_size=5,
)


@given(bodies, st.text(max_size=10), st.integers(0, 2**63 - 1), st.floats(0, 1e12), st.floats(0, 1e12))
def test_round_trip(body: messages.Body, id_: str, seq: int, t: float, exp: float) -> None:
    message = messages.Message(body, id_, seq, t, exp)
    assert messages.decode(messages.encode(message)) == message


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_blame_the_peer(payload: bytes) -> None:
    with contextlib.suppress(PeerError):
        messages.decode(payload)


@given(bodies, st.integers(0, 400))
def test_every_truncation_blames_the_peer(body: messages.Body, cut: int) -> None:
    payload = messages.encode(messages.Message(body))
    with pytest.raises(PeerError):
        messages.decode(payload[: min(cut, len(payload) - 1)])


def test_a_map_with_a_list_as_key_blames_the_peer() -> None:
    with pytest.raises(PeerError, match="not msgpack"):
        messages.decode(b"\x81\x91\x01\x01")  # {[1]: 1}


@given(st.binary(max_size=200))
def test_noise_blames_the_peer(noise: bytes) -> None:
    with contextlib.suppress(PeerError):
        messages.decode(noise)


def test_unknown_keys_are_ignored_and_known_ones_keep_their_type() -> None:
    import msgpack

    assert messages.decode(msgpack.packb({"v": 1, "body": {}, "new": 1})) == messages.Message({})
    with pytest.raises(PeerError, match="seq is str"):
        messages.decode(msgpack.packb({"v": 1, "body": {}, "seq": "1"}))


def test_topics_parse_back() -> None:
    device = topics.DeviceTopics("house", "pi-1")
    assert topics.parse(device.birth) == ("house", "pi-1", "up/birth", False)
    assert topics.parse(device.presence) == ("house", "pi-1", "presence", True)
    for bad in ("edge/v1/house", "edge/v1/house/peer/pi", "other/v1/a/b/c", "edge/v1//b/c"):
        with pytest.raises(PeerError):
            topics.parse(bad)


@pytest.mark.parametrize("name", ["", "peer", "a/b", "a+b", "#", "x" * 65, "-a", "ä"])
def test_names_that_are_not_one_level_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        topics.check_name(name, "device")
