"""The arena gives out what was planned, aligned and zeroed, and says what is missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BudgetError
from edge_agent.memory.arena import ALIGNMENT, Arena, Column, total

columns = st.lists(
    st.tuples(st.tuples(st.integers(0, 40), st.integers(1, 9)), st.sampled_from(["u1", "f4", "i2"])),
    max_size=4,
).map(lambda items: [Column(str(i), shape, dtype) for i, (shape, dtype) in enumerate(items)])


@given(st.lists(st.tuples(st.integers(0, 5), columns), max_size=30))
def test_regions_never_overlap_and_releases_come_back(requests: list[tuple[int, list[Column]]]) -> None:
    arena = Arena(4096)
    held: dict[str, dict[str, np.ndarray]] = {}
    for number, wanted in requests:
        owner = str(number)
        if owner in held:
            arena.release(owner)
            del held[owner]
            continue
        try:
            held[owner] = arena.allocate(owner, wanted)
        except BudgetError as error:
            assert error.missing > 0
            continue
        for array in held[owner].values():
            assert not array.any()
            assert array.ctypes.data % ALIGNMENT == 0 or array.size == 0
            array[...] = number + 1
    for owner, arrays in held.items():
        assert all((array == int(owner) + 1).all() for array in arrays.values())


def test_what_does_not_fit_says_how_many_bytes_are_missing() -> None:
    arena = Arena(8192)
    arena.allocate("a", [Column("x", (8000,), "u1")])
    wanted = [Column("y", (1000,), "u1")]
    for free in (8192 - 8000, 0):
        line = f"^b: needs {total(wanted)} bytes, .* has {free}: {total(wanted) - free} bytes are missing$"
        with pytest.raises(BudgetError, match=line) as caught:
            arena.allocate("b", wanted)
        assert caught.value.missing == total(wanted) - free
        assert "b" not in arena.regions
        arena.allocate(f"all of {free}", [Column("z", (free,), "u1")])
    assert arena.used == arena.nbytes


def test_an_owner_has_one_region() -> None:
    arena = Arena(1)
    arena.allocate("a", [Column("x", (8,), "f4")])["x"][:] = 1.0
    with pytest.raises(ValueError, match=r"^a already holds a region$"):
        arena.allocate("a", [])
