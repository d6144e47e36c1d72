import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ObservationError
from edge_agent.memory.rows import agent_numbers

distinct = st.integers(1, 50).flatmap(
    lambda size: st.tuples(st.lists(st.integers(0, size - 1), unique=True), st.just(size))
)


@given(distinct, st.sampled_from(["list", "int8", "uint16", "int64", "every second"]))
def test_distinct_numbers_in_range_come_back_in_their_order(agents: tuple[list[int], int], kind: str) -> None:
    numbers, size = agents
    given_: object = numbers
    if kind == "every second":
        given_ = np.repeat(np.array(numbers, dtype=np.int64), 2)[::2]
    elif kind != "list":
        given_ = np.array(numbers, dtype=kind)
    rows = agent_numbers(given_, size)
    assert rows.tolist() == numbers
    assert rows.dtype == np.int64
    assert rows.flags.c_contiguous  # the kernel reads it


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        ([3, 7, -1], "agents: 7, expected 0 to 4"),
        ([5], "agents: 5, expected 0 to 4"),
        ([0, -2], "agents: -2, expected 0 to 4"),
        ([3, 0, 4, 3, 4], "agents: 3 stands there twice"),
        ([1, 1], "agents: 1 stands there twice"),
        ([[0, 1]], r"agents: int64 of shape \(1, 2\), expected integers \(n,\)"),
        (2, r"agents: int64 of shape \(\), expected integers \(n,\)"),
        ([0.0], r"agents: float64 of shape \(1,\), expected integers \(n,\)"),
        ([True, False], r"agents: bool of shape \(2,\), expected integers \(n,\)"),
    ],
)
def test_the_error_names_the_first_that_is_wrong(agents: object, message: str) -> None:
    with pytest.raises(ObservationError, match=f"^{message}$"):
        agent_numbers(agents, 5)
