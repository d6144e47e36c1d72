"""Parents summed out in steps: what policies share is computed once, and G stays what the definition says."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.engine import planning, reference
from edge_agent.engine.arrays import all_policies, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.plan_steps import GAIN, MOST_ROWS, beliefs_of, steps_of
from edge_agent.engine.population import Population
from edge_agent.engine.precision import Precision


def cost(sizes, entries: float, outputs: int, beliefs, steps) -> float:
    """Multiply-adds and rows written of steps, from their definition."""
    total, done = 0.0, ()
    for step in steps:
        before = math.prod(n for i, n in enumerate(sizes) if i not in done)
        sums = outputs * before if done else entries
        done = (*done, *step)
        rows = outputs * math.prod(n for i, n in enumerate(sizes) if i not in done)
        total += len({tuple(b[i] for i in done) for b in beliefs}) * (sums + rows)
        if len(step) > 1:
            joint = math.prod(sizes[i] for i in step)
            total += len({tuple(b[i] for i in step) for b in beliefs}) * joint
    return total


def ordered_partitions(places: tuple[int, ...]):
    if not places:
        yield ()
    for k in range(1, len(places) + 1):
        for first in itertools.combinations(places, k):
            rest = tuple(i for i in places if i not in first)
            for others in ordered_partitions(rest):
                yield (first, *others)


def allowed(sizes, outputs: int, steps) -> bool:
    """Whether no step but the last leaves more rows than the scratch memory has."""
    left = [set(range(len(sizes))).difference(*steps[: n + 1]) for n in range(len(steps) - 1)]
    return all(outputs * math.prod(sizes[i] for i in places) <= MOST_ROWS for places in left)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(2, 6), st.integers(1, 4)), min_size=2, max_size=4),
    st.integers(1, 8),
    st.floats(0.1, 1.0),
)
@example([(3, 1), (5, 2), (5, 2), (6, 2)], 7, 1.0)  # the least work of all would leave 1,050 rows
def test_no_other_steps_cost_less(axes: list[tuple[int, int]], outputs: int, density: float) -> None:
    sizes, controls = zip(*axes, strict=True)
    beliefs = list(itertools.product(*(range(u) for u in controls)))
    entries = density * outputs * math.prod(sizes)
    found = steps_of(sizes, entries, outputs, beliefs)
    everything = tuple(range(len(sizes)))
    orders = [steps for steps in ordered_partitions(everything) if allowed(sizes, outputs, steps)]
    best = min(cost(sizes, entries, outputs, beliefs, steps) for steps in orders)
    whole = cost(sizes, entries, outputs, beliefs, (everything,))
    if found:
        assert sorted(itertools.chain(*found)) == list(everything)
        assert cost(sizes, entries, outputs, beliefs, found) == pytest.approx(best)
    else:
        assert best >= GAIN * whole - 1e-9


def test_beliefs_are_told_apart_where_the_tree_tells_them_apart() -> None:
    policies = all_policies((2, 1, 3), 2)
    beliefs = beliefs_of(policies, ((0,), (1,), (0, 2)), 1000)
    assert len(beliefs) == 6 + 36
    assert [len({b[f] for b in beliefs}) for f in range(3)] == [2 + 4, 2, 3 + 6 * 3]


def model_of(seed: int, **options) -> Model:
    """Four factors, the first two with controls; one modality is sparse, one over merged states."""
    generator = np.random.default_rng(seed)

    def columns(rows: int, *shape: int) -> np.ndarray:
        return np.moveaxis(generator.dirichlet(np.full(rows, 0.4), size=shape), -1, 0)

    sparse = np.full((3, 4, 6), 0.02)
    sparse[0] = 0.96
    sparse[:, 1, 2] = sparse[:, 3, 3] = [0.02, 0.96, 0.02]
    merged = np.repeat(columns(4, 4, 3, 3), 2, axis=3)  # two states of factor 2 look the same
    A = [columns(5, 4, 3, 6), sparse, merged, columns(3, 6, 5), columns(4, 4, 3, 6, 5)]
    deps = [[0, 1, 2], [0, 2], [0, 1, 2], [2, 3], [0, 1, 2, 3]]
    B = [columns(4, 4, 3), columns(3, 4, 3, 2), columns(6, 6, 1), columns(5, 5, 1)]
    C = [generator.normal(size=len(a)) for a in A]
    C[4] = generator.normal(size=(2, 4))  # its preferences change from step to step
    arrays = model_arrays(
        A,
        B,
        C,
        A_deps=deps,
        B_deps=[[0], [0, 1], [2], [3]],
        policy_len=2,
        options=AgentOptions("marginal", num_iter=4, **options),
    )
    return Model.quantized(arrays, precision=Precision.uniform(arrays, 16))


@pytest.mark.parametrize("options", [{}, {"use_states_info_gain": False}, {"use_utility": False}])
def test_policies_are_worth_what_the_reference_says(options) -> None:
    model = model_of(1, **options)
    assert sum(bool(m and m.steps) for m in model._merging.groups) >= 3
    exact, population = model.arrays(), Population(model, 6)
    generator = np.random.default_rng(0)
    for f, n in enumerate(model.num_states):
        population.set_beliefs(f, generator.dirichlet(np.full(n, 0.5), size=6))
    qs = [population.beliefs(f).astype(np.float64) for f in range(4)]
    for horizon, epistemic in ((2, True), (1, True), (2, False)):
        population.plan(horizon=horizon, epistemic=epistemic)
        G = population.expected_free_energy
        for i in range(6):
            expected = reference.expected_free_energy(
                exact, [q[i] for q in qs], horizon=horizon, epistemic=epistemic
            )
            np.testing.assert_allclose(G[i], expected, atol=3e-3)


def test_preferences_are_added_to_steps_too() -> None:
    model = model_of(2)
    population = Population(model, 1)
    before = population.expected_free_energy
    population.prefer({0: np.arange(5.0)})
    exact = model.preferring({0: np.arange(5.0)}).arrays()
    beliefs = [population.beliefs(f)[0].astype(np.float64) for f in range(4)]
    expected = reference.expected_free_energy(exact, beliefs)
    np.testing.assert_allclose(population.expected_free_energy[0], expected, atol=3e-3)
    assert np.abs(population.expected_free_energy - before).max() > 0.1


def test_a_step_that_policies_share_is_written_once() -> None:
    plan = model_of(1).plan(2, True)
    expanded = [(x[1], x[2], x[4]) for x in plan.ops.tolist() if x[0] == planning.EXPAND and x[6] < 0]
    products = sum(1 for x in plan.ops.tolist() if x[0] == planning.OUTCOMES)
    assert len(expanded) < products


def test_bundles_of_rules_1_plan_in_one_step() -> None:
    model = replace(model_of(1), rules=1)
    assert not any(m and m.steps for m in model._merging.groups)
    assert not any(len(c.ops) for c in model.contractions)
