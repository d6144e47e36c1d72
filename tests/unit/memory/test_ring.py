"""The ring keeps the newest strings that fit, whole and in order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.memory.ring import ByteRing


@given(st.integers(1, 40), st.integers(1, 6), st.lists(st.binary(max_size=40), max_size=60))
def test_the_newest_strings_that_fit_stay(capacity: int, limit: int, strings: list[bytes]) -> None:
    ring = ByteRing(np.zeros(capacity, np.uint8), np.zeros((limit, 2), np.int64))
    kept: list[bytes] = []
    for string in strings:
        if len(string) > capacity:
            with pytest.raises(ValueError, match="do not fit"):
                ring.append(string)
            continue
        kept.append(string)
        while sum(map(len, kept)) > capacity or len(kept) > limit:
            kept.pop(0)
        ring.append(string)
        assert list(ring) == kept
        assert ring.used == sum(map(len, kept)) <= capacity


def test_an_append_says_how_many_gave_way() -> None:
    ring = ByteRing(np.zeros(10, np.uint8), np.zeros((4, 2), np.int64))
    assert [ring.append(b"abc") for _ in range(4)] == [0, 0, 0, 1]
    assert ring.append(b"0123456789") == 3
    assert (list(ring), ring.used) == ([b"0123456789"], 10)
