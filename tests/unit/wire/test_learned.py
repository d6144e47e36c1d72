"""What a population counted, as messages: pieces in any order, and none unpacks to more than it may."""

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import EdgeAgentError, ModelError, PeerError
from edge_agent.wire import body_checks, learned, messages
from edge_agent.wire.increments import MAX_CELLS, Counts, Increments
from edge_agent.wire.learned_body import LEARNED
from edge_agent.wire.messages import Body, Message

BUNDLE = "ab" * 32
TENSORS = (Counts("A_0", (3, 70), 12), Counts("B_0", (5, 70, 70), 24), Counts("D_0", (70,), 12))
CELLS = 24_780
GAP = b"\1\0\0\0"


def drawn(seed: int, share: float = 1.0) -> Increments:
    rng = np.random.default_rng(seed)
    units = rng.integers(0, 1 << 20, CELLS) * (rng.random(CELLS) < share)
    return Increments(BUNDLE, TENSORS, 1 << 30, units)


def sent(increments: Increments) -> list[Body]:
    """The bodies as the hub gets them."""
    made = learned.to_bodies(increments, "rooms", BUNDLE, 9, 1)
    out = [messages.decode(messages.encode(Message(body, seq=1))).body for body in made]
    for body in out:
        body_checks.check(LEARNED, body, "learned")
    return out


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.001, 0.6, 1.0]), st.randoms())
def test_pieces_in_any_order_and_again_give_the_same_counts(seed, share, random) -> None:
    one = drawn(seed, share)
    pieces = [learned.from_body(body) for body in sent(one)]
    assert len(pieces) == {0.0: 1, 0.001: 1, 0.6: 1, 1.0: 2}[share]
    pieces += random.choices(pieces, k=2)
    random.shuffle(pieces)
    back = learned.assembled(pieces, TENSORS)
    assert back.encoded() == one.encoded()
    assert {(p.whole.population, p.whole.bundle, p.whole.epoch, p.whole.shift) for p in pieces} == {
        ("rooms", BUNDLE, 9, 1)
    }


def test_pieces_that_no_compression_helps_fit_a_message() -> None:
    units = np.random.default_rng(1).integers(1, 1 << 61, 40_000)
    one = Increments(BUNDLE, (Counts("A_0", (2, 20_000), 1),), 1 << 61, units // 40_000)
    for body in learned.to_bodies(one, "p" * 64, BUNDLE, 2**53):
        assert len(messages.encode(Message(body | {"outbox": "x" * 64}))) <= messages.MAX_BYTES


def small(**change: object) -> Body:
    """One piece of one cell."""
    units = np.zeros(CELLS, np.int64)
    units[0] = 1 << 12
    return learned.to_bodies(Increments(BUNDLE, TENSORS, 2, units), "rooms", BUNDLE, 9)[0] | change


def cell(value: int) -> bytes:
    return zlib.compress(GAP + value.to_bytes(8, "little", signed=True))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"population": "a/b"}, "population: found 'a/b'"),
        ({"bundle": "x"}, "bundle: found 'x', expected a SHA-256"),
        ({"epoch": 0}, "epoch: found 0, expected 1 to"),
        ({"epoch": -3}, "epoch: found -3"),
        ({"shift": 63}, "shift: found 63"),
        ({"updates": 1 << 60}, "updates: found"),
        ({"updates": 0}, "A_0 has more counts than 0 updates"),
        ({"piece": 1}, "piece: found 1, expected 0 to 0"),
        ({"pieces": 3}, "pieces: found 3, expected 1 to 2"),
        ({"tensors": []}, "tensors: 0 cells"),
        ({"tensors": [["C_0", [3], 12]]}, "tensors: found 'C_0'"),
        ({"tensors": [["A_0", [2**13, 2**14], 12]]}, "A_0: more than"),
        ({"tensors": [["A_0", [2**25], 1], ["A_1", [2**25], 1], ["A_2", [1], 1]]}, "cells, expected 1 to"),
        ({"tensors": [["A_0", [3], 12], ["A_0", [3], 12]]}, "one stands there twice"),
        ({"tensors": [["A_0", [0], 12]]}, "A_0: found 0"),
        ({"tensors": [["A_0", [3], 49]]}, "A_0.bits: found 49"),
        ({"listed": 16_385}, "listed: found 16385"),
        ({"listed": 2}, "data: not 2 listed cells"),
        ({"data": b"xx"}, "data: damaged"),
        ({"data": zlib.compress(bytes(10**8)[: 10**7])}, "data: not 1 listed cells"),
        ({"data": cell(1) + b"x"}, "data: not 1 listed cells"),
        ({"data": cell(-1)}, "A_0 has -1 units in a cell"),
        ({"data": cell(0)}, "A_0 has 0 units in a cell"),
        ({"data": cell(2**62)}, "A_0 has more counts than 2 updates"),
        ({"data": zlib.compress(bytes(12))}, "cells out of order"),
        ({"data": zlib.compress(b"\xff\xff\xff\xff" + bytes(8))}, "cells out of order or beyond 24780"),
    ],
)
def test_bad_pieces_are_one_line(change: Body, line: str) -> None:
    with pytest.raises(PeerError, match=line):
        learned.from_body(small(**change))


def test_what_is_claimed_takes_no_room_before_it_is_compared_with_the_model() -> None:
    claimed = small(tensors=[["A_0", [MAX_CELLS], 12]], pieces=1)
    tracemalloc.start()
    piece = learned.from_body(claimed)
    with pytest.raises(PeerError, match=r"counts A_0 67108864 in 2\^-12, the model A_0 3x70"):
        learned.assembled([piece], TENSORS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_pieces_that_are_missing_or_of_others_are_refused() -> None:
    first, second = (learned.from_body(body) for body in sent(drawn(1)))
    for pieces, line in (
        ([], "0 pieces of unknown"),
        ([second], "1 pieces of 2"),
        ([first, second._replace(number=0)], "1 pieces of 2"),
        ([first, second._replace(whole=second.whole._replace(epoch=8))], "different contributions"),
        ([first, first._replace(number=1)], "piece 1: cells of another piece"),
    ):
        with pytest.raises(PeerError, match=line):
            learned.assembled(pieces, TENSORS)


def test_pieces_whose_sum_is_more_than_their_updates_are_refused() -> None:
    units = np.full(20_000, 1 << 12, np.int64)
    one = Increments(BUNDLE, (Counts("A_0", (20_000,), 12),), 20_000, units)
    low = [learned.from_body(body | {"updates": 16_384}) for body in learned.to_bodies(one, "p", BUNDLE, 1)]
    with pytest.raises(ModelError, match="A_0 has more counts than 16384 updates"):
        learned.assembled(low, one.tensors)


@settings(max_examples=200)
@given(st.data())
def test_damaged_messages_are_refused_or_read(data) -> None:
    whole = bytearray(messages.encode(Message(small(), seq=1)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        piece = learned.from_body(messages.decode(bytes(whole)).body)
        learned.assembled([piece], TENSORS)
    except EdgeAgentError as error:
        assert "\n" not in str(error)
