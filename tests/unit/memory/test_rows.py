import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ObservationError
from edge_agent.memory.rows import agent_numbers

KINDS = st.sampled_from(["list", "int8", "uint16", "int64", "strided"])


@given(st.lists(st.integers(-3, 60), max_size=12), st.integers(1, 50), KINDS)
def test_distinct_numbers_in_range_come_back_in_their_order_and_others_are_refused(
    numbers: list[int], size: int, kind: str
) -> None:
    agents: object = numbers
    if kind == "strided":
        agents = np.repeat(np.array(numbers, dtype=np.int64), 2)[::2]
    elif kind != "list" and min(numbers, default=0) >= 0:
        agents = np.array(numbers, dtype=kind)
    if len(set(numbers)) == len(numbers) and all(0 <= number < size for number in numbers):
        rows = agent_numbers(agents, size)
        assert rows.tolist() == numbers
        assert rows.dtype == np.int64
        assert rows.flags.c_contiguous  # the kernel reads it
    else:
        with pytest.raises(ObservationError, match="agents: "):
            agent_numbers(agents, size)


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        ([3, 7, -1], "agents: 7, expected 0 to 4"),
        ([0, -2], "agents: -2, expected 0 to 4"),
        ([3, 1, 2, 1, 3], "agents: 1 stands there twice"),
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
