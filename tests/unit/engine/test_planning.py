"""The planning program expands each node once, and what it adds up is what the definition says."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.engine import row_allocation
from edge_agent.engine.arrays import all_policies
from edge_agent.engine.model import Model
from edge_agent.errors import ModelError


def grid(policy_len: int, **options) -> Model:
    generator = np.random.default_rng(0)
    A = [np.eye(4) * 0.6 + 0.1]
    B = [np.moveaxis(generator.dirichlet(np.ones(4), size=(4, 3)), -1, 0)]
    return Model.from_arrays(A, B, [np.arange(4.0)], policy_len=policy_len, **options)


@pytest.mark.parametrize(("length", "nodes"), [(1, 3), (2, 3 + 9), (3, 3 + 9 + 27)])
def test_prefixes_are_shared(length: int, nodes: int) -> None:
    assert grid(length).plan(length, True).nodes == nodes


def test_factors_that_nobody_controls_are_expanded_once_a_step() -> None:
    eye = np.eye(3)
    A = [np.full((2, 3, 3), 0.5)]
    B = [np.stack([eye, eye[::-1]], axis=-1), eye[:, :, np.newaxis]]
    plan = Model.from_arrays(A, B, policy_len=3).plan(3, True)
    assert plan.nodes == (2 + 4 + 8) + 3


def test_scratch_is_one_branch_of_the_tree() -> None:
    rows = [grid(length).plan(length, True).rows - 3**length for length in (2, 3, 4, 5)]
    assert np.diff(rows).max() <= 4 + 1 + 1  # beliefs, a value and a total more a level


def test_node_budget() -> None:
    with pytest.raises(ModelError, match="over 38 nodes, the node budget; policies of 2 steps would fit"):
        grid(3, node_budget=38)
    with pytest.raises(ModelError, match="not even policies of one step would fit"):
        grid(3, node_budget=1)
    grid(3, node_budget=39)


def test_policies_are_in_pymdps_order() -> None:
    plans = all_policies((2, 3), 2)
    assert plans.shape == (36, 2, 2)
    assert plans[1].tolist() == [[0, 0], [0, 1]]
    assert plans[6].tolist() == [[0, 1], [0, 0]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=60))
def test_rows_in_use_never_overlap(steps: list[tuple[bool, int]]) -> None:
    space = row_allocation._Space(5)
    live: list[tuple[int, int]] = []
    for give, size in steps:
        if give and live:
            space.give(*live.pop(size % len(live)))
        else:
            live.append((space.take(size), size))
        used = sorted(live)
        assert all(a + n <= b for (a, n), (b, _) in itertools.pairwise(used))
        assert all(a >= 5 and a + n <= space.end for a, n in live)
