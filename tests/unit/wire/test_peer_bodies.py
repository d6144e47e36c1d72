"""Presence and evidence: decoded unchanged, small enough; foreign bytes raise PeerError."""

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import PeerError
from edge_agent.wire import evidence, messages, presence
from edge_agent.wire.evidence import Base, Evidence, HeldTicks, Record
from edge_agent.wire.presence import Geographic, Hexagon, Metric, Place, Presence

names = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True).filter(lambda n: n != "peer")
digests = st.binary(min_size=8, max_size=8)
positions = st.one_of(
    st.none(),
    st.builds(Place, st.text(min_size=1, max_size=20)),
    st.builds(Metric, st.integers(-(2**31) + 1, 2**31 - 1), st.integers(-(2**31) + 1, 2**31 - 1)),
    st.builds(Geographic, st.integers(-900_000_000, 900_000_000), st.integers(-1_800_000_000, 1_800_000_000)),
    st.builds(Hexagon, st.integers(0, 2**63 - 1)),
)
counts = st.integers(0, 2**31 - 1)


def ordered(items: st.SearchStrategy, limit: int = 5) -> st.SearchStrategy:
    return st.sets(items, max_size=limit).map(lambda found: tuple(sorted(found)))


presences = st.builds(
    Presence,
    device=names,
    incarnation=st.integers(0, 2**63 - 1),
    seq=st.integers(0, 2**63 - 1),
    leaving=st.booleans(),
    capabilities=ordered(st.text(max_size=8)),
    position=positions,
    capacity=counts,
    battery=st.integers(0, 100),
    room=st.integers(0, 2**40),
    bundles=ordered(digests),
    plan=st.just(b"") | digests,
    holds=ordered(digests),
    accounts=st.lists(st.tuples(names, counts, counts), max_size=4).map(tuple),
)
codes = st.lists(st.integers(0, 255), min_size=1, max_size=40).map(lambda c: bytes([*c[:-1], 255]))
numbers = st.integers(0, 2**32 - 1)
ticks = st.integers(0, 2**53)
messages_of_evidence = st.builds(
    Evidence,
    st.lists(st.builds(Record, numbers, counts, ticks, codes, st.integers(-1, 9), st.just("") | names)).map(
        tuple
    ),
    st.lists(st.builds(HeldTicks, numbers, names, counts, ticks, st.integers(0, 2**64 - 1))).map(tuple),
    st.lists(st.builds(Base, numbers, ticks, codes, st.integers(-1, 9))).map(tuple),
    st.lists(numbers).map(tuple),
)


def over_the_wire(body: messages.Body) -> messages.Body:
    return messages.decode(messages.encode(messages.Message(body))).body


@given(presences)
def test_presence_round_trip(entry: Presence) -> None:
    assert presence.from_body(over_the_wire(presence.to_body(entry)), entry.seq) == entry


@given(messages_of_evidence)
def test_evidence_round_trip(sent: Evidence) -> None:
    assert evidence.from_body(over_the_wire(evidence.to_body(sent))) == sent


@given(st.integers(2, evidence.MAX_STATES))
def test_evidence_of_one_factor_is_at_most_64_bytes_and_its_states(states: int) -> None:
    record = Record(2**32 - 1, 2**31 - 1, 2**40, bytes([255] * states), 255)
    message = messages.Message(evidence.to_body(Evidence((record,))), seq=2**32, t=1.7e9)
    assert len(messages.encode(message)) <= 64 + states


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=5)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
keys = st.sampled_from(
    [
        "device",
        "incarnation",
        "caps",
        "pos",
        "battery",
        "holds",
        "accounts",
        "plan",
        "r",
        "h",
        "b",
        "x",
        "place",
    ]
)


@given(st.dictionaries(keys, junk, max_size=8))
def test_any_body_is_read_or_blamed_on_the_peer(body: messages.Body) -> None:
    with contextlib.suppress(PeerError):
        presence.from_body({"device": "a", "incarnation": 1} | body, 0)
    with contextlib.suppress(PeerError):
        evidence.from_body(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"incarnation": 1}, "device"),
        ({"device": "peer", "incarnation": 1}, "reserved"),
        ({"device": "a"}, "incarnation"),
        ({"device": "a", "incarnation": 1, "battery": 101}, "battery: found 101, expected 0 to 100"),
        ({"device": "a", "incarnation": 1, "pos": {"x": 1.5, "y": 0}}, "x: found float"),
        ({"device": "a", "incarnation": True}, "incarnation: found bool"),
    ],
)
def test_a_wrong_field_is_named(body: messages.Body, message: str) -> None:
    with pytest.raises(PeerError, match=message):
        presence.from_body(body, 1)


@pytest.mark.parametrize("bad", [b"", bytes([0, 0, 0]), bytes([254, 3])])
def test_codes_without_a_largest_are_no_distribution(bad: bytes) -> None:
    with pytest.raises(PeerError, match=r"r\.codes"):
        evidence.from_body({"r": [[1, 2, 3, bad]]})


def test_rows_and_maps_that_grew_are_still_read() -> None:
    packed = msgpack.packb({"r": [[1, 2, 3, b"\xff", -1, "", "new"]], "new": 1})
    assert evidence.from_body(msgpack.unpackb(packed)).records == (Record(1, 2, 3, b"\xff"),)
