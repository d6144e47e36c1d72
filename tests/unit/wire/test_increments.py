"""Increments as bytes: they come back as they were, and damaged ones are one line."""

import hashlib
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ModelError
from edge_agent.wire.increments import Counts, Increments

MODEL = "ab" * 32
TENSORS = (Counts("A_0", (3, 4), 12), Counts("B_0", (2, 4, 4), 24))
CELLS = 44


def drawn(seed: int, updates: int = 50) -> Increments:
    """Whole counts: ``updates`` of A, some of B, whose cells are drawn."""
    rng = np.random.default_rng(seed)
    units = np.zeros(CELLS, np.int64)
    for first, tensor in ((0, TENSORS[0]), (12, TENSORS[1])):
        for _ in range(int(rng.integers(1, 6))):
            cells = first + rng.choice(tensor.cells, 3, replace=False)
            parts = rng.multinomial(1 << tensor.bits, [0.2, 0.3, 0.5])
            np.add.at(units, cells, parts * int(rng.integers(1, updates // 5)))
    return Increments(MODEL, TENSORS, updates, units)


@given(st.integers(0, 2**32 - 1))
def test_bytes_and_back(seed: int) -> None:
    one = drawn(seed)
    back = Increments.decoded(one.encoded())
    assert (back.model, back.tensors, back.updates) == (one.model, one.tensors, one.updates)
    assert (back.units == one.units).all()
    assert back.encoded() == one.encoded()


def test_nothing_counted_is_small() -> None:
    one = Increments(MODEL, TENSORS, 0, np.zeros(CELLS, np.int64))
    assert len(one.encoded()) < 400
    assert not Increments.decoded(one.encoded()).units.any()


@given(st.data())
def test_damaged_bytes_are_one_line(data) -> None:
    whole = bytearray(drawn(1).encoded())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        found = Increments.decoded(cut)
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert found.updates >= 0


def altered(body: bytes | None = None, **changes) -> bytes:
    line, _, old = drawn(1).encoded().partition(b"\n")
    body = old if body is None else body
    head = json.loads(line) | {"sha256": hashlib.sha256(body).hexdigest()} | changes
    return json.dumps(head).encode() + b"\n" + body


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "no header"),
        (b"[]\n", "the header is not one of increments"),
        (b'{"magic": 1}\n', "the header is not one of increments"),
        (altered(magic="edge-agent counts 2"), "'edge-agent counts 2', expected"),
        (altered(model="x"), "expected 'edge-agent counts 1' and the digest"),
        (altered(updates=-1), "-1 updates, expected 0 to"),
        (altered(updates=2**60), "updates, expected 0 to"),
        (altered(updates=1), "A_0 has more counts than 1 updates"),
        (altered(listed=2**40), "listed cells are out of range"),
        (altered(sha256="0"), "damaged"),
        (altered(tensors=[["A_0", [2**20, 2**20], 12]]), "the header is not one of increments"),
        (altered(tensors=[["A_0", [44], 12], ["A_0", [44], 12]]), "a tensor stands there twice"),
        (altered(body=b"x"), "not .* listed cells"),
        (altered(body=zlib.compress(bytes(10**6))), "not .* listed cells"),
        (altered(body=zlib.compress(bytes(12)), listed=1), "cells out of order"),
    ],
)
def test_bad_bytes_are_one_line(data: bytes, line: str) -> None:
    with pytest.raises(ModelError, match=line):
        Increments.decoded(data)


@pytest.mark.parametrize("value", [-1, 2**61])
def test_negative_or_too_large_counts_are_refused(value: int) -> None:
    units = np.zeros(CELLS, np.int64)
    units[2] = value
    with pytest.raises(ModelError, match="A_0 has"):
        Increments(MODEL, TENSORS, 5, units)
