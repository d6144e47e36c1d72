"""Increments added over devices: what one device alone can do to the sum is bounded."""

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_agent.wire.increments import Counts, Increments
from edge_hub.domain.increment_sums import robust, total

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


def many(updates: int) -> Increments:
    """One cell of A in all ``updates``."""
    units = np.zeros(CELLS, np.int64)
    units[5] = updates << TENSORS[0].bits
    return Increments(MODEL, TENSORS, updates, units)


def test_sums_are_of_the_model_of_their_parts_and_count_what_was_counted() -> None:
    plain, careful = total([many(3), many(4), many(5)]), robust([many(3), many(4), many(5)])
    assert (plain.model, plain.tensors, plain.updates, plain.units[5]) == (MODEL, TENSORS, 12, 12 << 12)
    # capped at the median 4: 3, 4, 4; the one in the middle, three times
    assert (careful.model, careful.tensors, careful.updates, careful.units[5]) == (
        MODEL,
        TENSORS,
        12,
        12 << 12,
    )


def test_a_sum_that_64_bits_do_not_hold_is_refused() -> None:
    room = 1 << (62 - 24)  # counts, of 2^24 units each, that leave two bits
    assert total([many(room // 2)] * 2).updates == room
    with pytest.raises(
        ModelError, match=f"^increments: {room + 1} updates together, expected at most {room}$"
    ):
        total([many(room // 2), many(room // 2 + 1)])
    most = room // 9  # three devices, and three times what is left of them
    assert robust([many(most)] * 3).units[5] == 3 * most << 12
    with pytest.raises(
        ModelError, match=r"^increments: 3\.0542e\+10 counts of the median device are too many"
    ):
        robust([many(most + 1)] * 3)


def test_increments_of_another_model_are_refused_with_both_names() -> None:
    other = Increments("cd" * 32, TENSORS, 3, many(3).units)
    with pytest.raises(ModelError, match=r"^increments: of model cdcdcdcdcdcd, expected abababababab "):
        total([many(3), other])
