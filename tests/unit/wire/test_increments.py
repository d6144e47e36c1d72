"""Increments as bytes, and added over devices: no order changes a byte, one device changes little."""

import hashlib
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ModelError
from edge_agent.wire.increment_sums import Contribution, gather, robust, total
from edge_agent.wire.increments import Counts, Increments

MODEL = "ab" * 32
TENSORS = (Counts("A_0", (3, 4), 12), Counts("B_0", (2, 4, 4), 24))
CELLS = 44


def drawn(seed: int, updates: int = 50, scale: int = 1) -> Increments:
    """Whole counts: ``updates`` of A, some of B, whose cells are drawn."""
    rng = np.random.default_rng(seed)
    units = np.zeros(CELLS, np.int64)
    for first, tensor in ((0, TENSORS[0]), (12, TENSORS[1])):
        for _ in range(int(rng.integers(1, 6))):
            cells = first + rng.choice(tensor.cells, 3, replace=False)
            parts = rng.multinomial(1 << tensor.bits, [0.2, 0.3, 0.5])
            np.add.at(units, cells, parts * (scale * int(rng.integers(1, updates // 5))))
    return Increments(MODEL, TENSORS, updates * scale, units)


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


@given(st.integers(0, 2**32 - 1), st.integers(3, 9))
def test_order_pieces_and_repetitions_change_no_byte(seed: int, devices: int) -> None:
    rng = np.random.default_rng(seed)
    sent = [
        Contribution(f"d{n}", epoch, drawn(int(rng.integers(1 << 30))))
        for n in range(devices)
        for epoch in range(int(rng.integers(1, 4)))
    ]

    def merged(contributions) -> tuple[bytes, bytes]:
        found = gather(contributions, MODEL, TENSORS)
        assert not found.refused
        assert len(found.devices) == devices
        values = list(found.devices.values())
        rng.shuffle(values)
        return total(values).encoded(), robust(values).encoded()

    wanted = merged(sent)
    assert (total([c.increments for c in sent])).encoded() == wanted[0]
    for _ in range(3):
        again = [*sent, *(sent[i] for i in rng.integers(0, len(sent), 3))]
        rng.shuffle(again)
        assert merged(again) == wanted


def test_contributions_that_do_not_belong_are_refused_and_stop_no_other() -> None:
    good = [Contribution(f"d{n}", 0, drawn(n)) for n in range(4)]
    other = drawn(7)
    parts = Increments(MODEL, TENSORS, 9, np.eye(1, CELLS, dtype=np.int64)[0])
    bad = [
        Contribution("e", 0, Increments("cd" * 32, TENSORS, other.updates, other.units)),
        Contribution("f", 0, Increments(MODEL, TENSORS[:1], 9, np.zeros(12, np.int64))),
        Contribution("g", 0, parts),
        Contribution("h", 1, drawn(8)),
        Contribution("h", 1, drawn(9)),
    ]
    for order in ([*good, *bad], [*bad[::-1], *good[::-1]]):
        found = gather(order, MODEL, TENSORS)
        assert set(found.devices) == {c.device for c in good}
        assert [line.partition(": ")[0] for line in found.refused] == ["e", "f", "g", "h"]


def test_updates_that_add_up_beyond_integers_refuse_that_epoch_alone() -> None:
    full = Increments(MODEL, TENSORS, 1 << 38, np.zeros(CELLS, np.int64))
    found = gather([Contribution("d", 0, full), Contribution("d", 1, drawn(1))], MODEL, TENSORS)
    assert found.devices["d"].updates == 1 << 38
    assert len(found.refused) == 1


def test_the_robust_sum_of_like_devices_is_the_plain_one() -> None:
    one = drawn(3)
    same = [one] * 5
    assert (robust(same).units == total(same).units).all()


@pytest.mark.parametrize("scale", [1, 100, 10_000])
def test_one_device_moves_a_cell_no_further_than_the_others_spread(scale: int) -> None:
    good = [drawn(n) for n in range(9)]
    poison = drawn(99, scale=scale)
    found = robust([*good, poison]).units
    masses = [one.mass for one in [*good, poison]]
    capped = [np.floor(g.units * min(1, np.median(masses) / g.mass)) for g in good]
    kept = np.sort(capped, axis=0)
    # ten in each cell, the least and the largest left out: eight of the nine good ones bound the sum
    assert (found <= np.ceil(kept[1:].sum(axis=0) * 10 / 8)).all()
    assert (found >= np.floor(kept[:-1].sum(axis=0) * 10 / 8) - 1).all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_devices_are_refused(count: int) -> None:
    with pytest.raises(ModelError, match=f"of {count} devices, expected 3 at least"):
        robust([drawn(n) for n in range(count)])
    with pytest.raises(ModelError, match="expected 5 at least"):
        robust([drawn(n) for n in range(4)], least=5)
