"""Dense tensors in integers: right beside the float64 reference, without overflow, and where they pay."""

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.engine import isa, reference
from edge_agent.engine.integer_weights import pays
from edge_agent.engine.kernel_weights import LARGEST, integer_weights, weight_count
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population

ROOM = 65_000  # of kernel/integers.h
MARGIN = 1.005  # beliefs add up to 1 but for rounding


def columns(r: np.random.Generator, concentration: float, rows: int, *shape: int) -> np.ndarray:
    return np.moveaxis(r.dirichlet(np.full(rows, concentration), size=shape), -1, 0)


def dense(seed: int, states: int, outcomes: int, steps: int = 1, concentration: float = 0.3) -> Model:
    """Return a dense model of one factor with three controls and two modalities."""
    r = np.random.default_rng(seed)
    A = [columns(r, concentration, n, states) for n in (outcomes, 9)]
    B = [columns(r, concentration, states, states, 3)]
    return Model.from_arrays(A, B, [r.normal(size=len(a)) for a in A], policy_len=steps, gamma=2.0)


def with_two_factors(seed: int, outcomes: int) -> Model:
    """Return a model whose outcomes, and whose first transition, depend on both of its factors."""
    r = np.random.default_rng(seed)
    A, C = [columns(r, 0.5, outcomes, 12, 3)], [r.normal(size=outcomes)]
    B = [columns(r, 0.5, 12, 12, 3, 2), columns(r, 0.5, 3, 3, 2)]
    return Model.from_arrays(A, B, C, A_deps=[[0, 1]], B_deps=[[0, 1], [1]], policy_len=2)


def furthest(model: Model, agents: int, seed: int) -> float:
    """Return the largest difference of G to the float64 reference, from the same beliefs of some agents."""
    r, population, arrays = np.random.default_rng(seed), Population(model, agents), model.arrays()
    worst = 0.0
    for _ in range(3):
        population.step(np.stack([r.integers(-1, n, agents) for n in model.num_obs], axis=-1))
        G = population.expected_free_energy
        for agent in range(min(agents, 3)):
            qs = [population.beliefs(f)[agent].astype(np.float64) for f in range(len(model.B))]
            worst = max(worst, float(np.abs(reference.expected_free_energy(arrays, qs) - G[agent]).max()))
    return worst


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    states=st.integers(12, 70),
    outcomes=st.integers(9, 40),
    steps=st.integers(1, 2),
    concentration=st.sampled_from([0.02, 0.3, 5.0]),
    agents=st.sampled_from([1, 3, 21]),
)
def test_values_are_those_of_the_reference(
    seed: int, states: int, outcomes: int, steps: int, concentration: float, agents: int
) -> None:
    model = dense(seed, states, outcomes, steps, concentration)
    floats = replace(model, rules=1)  # differ from the reference, too: folds are of exact arrays
    assert furthest(model, agents, seed) < 2 * furthest(floats, agents, seed) + 1e-3


@pytest.mark.parametrize("outcomes", [3, 30])
def test_values_of_tensors_over_several_factors(outcomes: int) -> None:
    model = with_two_factors(1, outcomes)
    assert len(model.integers) == (2 if outcomes == 30 else 1)
    assert furthest(model, 5, 2) < 4e-3


@pytest.mark.parametrize("states", [64, 65, 300])
def test_integers_are_as_near_to_the_reference_as_floats(states: int) -> None:
    for steps in (1, 2):
        model = dense(3, states, states // 2, steps)
        floats = replace(model, rules=1)
        assert model.integers
        assert not floats.integers
        assert furthest(model, 9, 4) < 1.2 * furthest(floats, 9, 4) + 1e-4


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), states=st.integers(9, 90), concentration=st.sampled_from([0.1, 1, 50]))
def test_no_sum_leaves_32_bits(seed: int, states: int, concentration: float) -> None:
    """The largest sums of every tensor: beliefs in its largest columns, and spread over all of them."""
    model = dense(seed, states, 30, concentration=concentration)
    found = integer_weights(model, np.zeros(weight_count(model), np.int16))
    spread = max(w.spread for w in found)
    for n in model.integers:
        blocks = found[n].weights.reshape(-1, (model.tensors[n].width + 1) // 2, 4, 2).astype(np.int64)
        assert blocks.min() >= 0
        assert blocks.max() == LARGEST
        rows = blocks.transpose(0, 2, 1, 3).reshape(-1, blocks.shape[1] * 2)
        even = min(LARGEST, (ROOM - spread / 2) * max(1.0, states / spread) / states * MARGIN)
        assert (rows.sum(axis=1) * (even + 0.5)).max() < 2**31
        assert ROOM * MARGIN * LARGEST < 2**31


@pytest.mark.parametrize("agents", [1, 7, 40, 130])
@pytest.mark.parametrize("steps", [1, 2])
def test_bits_depend_on_neither_instruction_set_nor_company(monkeypatch, agents: int, steps: int) -> None:
    model = dense(7, 51, 33, steps)
    table = np.stack([np.random.default_rng(8).integers(-1, n, (5, 130)) for n in model.num_obs], axis=-1)
    results = set()
    for name in (i.name for i in isa.available()):
        monkeypatch.setenv(isa.VARIABLE, name)
        for threads in (1, 2):
            population = Population(model, agents, threads=threads)
            actions = [population.step(tick[:agents])[0].tobytes() for tick in table]
            values = (population.codes()[0], population.evaluate()[0][0], population.free_energy[0])
            results.add((*actions, *(np.ascontiguousarray(v).tobytes() for v in values)))
    alone = Population(model, 1)
    actions = [alone.step(tick[:1])[0].tobytes() for tick in table]
    values = (alone.codes()[0], alone.evaluate()[0][0], alone.free_energy[0])
    assert results == {(*actions, *(np.ascontiguousarray(v).tobytes() for v in values))}
    assert os.environ[isa.VARIABLE]


def test_sparse_and_small_tensors_stay_as_they_are(load_golden) -> None:
    assert not Model.quantized(load_golden("s2_grid10_T1").arrays).integers
    small = dense(1, 8, 5)
    assert not pays(small.A[0], small.A[0].rows)
    assert set(dense(1, 40, 30).integers) == {2, 3}  # B, and the product of A and B in place of both A


def test_memory_plan_has_the_weights() -> None:
    model = dense(1, 40, 30)
    column = next(c for c in Population.columns(model, 5) if c.name == "weights")
    assert column.nbytes == 2 * (3 * 40 * 40 + 3 * 40 * 40)  # B, and 39 outcomes in blocks of four
    learning = next(c for c in Population.columns(model, 5, changing=True) if c.name == "weights")
    assert learning == column  # of the delivered model
