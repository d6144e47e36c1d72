"""The order in which tables of several factors are summed: right by brute force, and with less work."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.factored import MODELS, arrays_of, observations_of
from edge_agent.engine import reference
from edge_agent.engine.arrays import model_arrays
from edge_agent.engine.contraction import MEAN, PAIR, SPREAD, SUM, contraction
from edge_agent.engine.contraction_plan import Contraction
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.engine.precision import Precision

LETTERS = "abcdefghij"


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, ...]]]:
    """States of up to seven factors, and the parents of modalities in any order."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=7))
    parents = st.lists(st.sampled_from(range(len(sizes))), min_size=1, max_size=len(sizes), unique=True)
    return sizes, [tuple(p) for p in draw(st.lists(parents, min_size=1, max_size=6))]


def run(plan: Contraction, part: slice, rows: np.ndarray, q: np.ndarray) -> float:
    """Run operations as kernel/contraction.h does, in float64, one lane; returns the sum of means."""
    total = 0.0
    for kind, *x in plan.ops[part].tolist():
        if kind == SUM:
            to, source, outside, n, inside, first, adds = x
            table = rows[source : source + outside * n * inside].reshape(outside, n, inside)
            out = np.einsum("lnr,n->lr", table, q[first : first + n]).ravel()
            rows[to : to + len(out)] = out + (rows[to : to + len(out)] if adds else 0)
        elif kind == PAIR:
            source, na, nb, a, b, *_ = x
            table = rows[source : source + na * nb].reshape(na, nb)
            rows[a : a + na] += table @ q[b : b + nb]
            rows[b : b + nb] += q[a : a + na] @ table
        elif kind == MEAN:
            source, n, first, *_ = x
            total += rows[source : source + n] @ q[first : first + n]
        else:
            assert kind == SPREAD
            to, source, axes, start, *_ = x
            sizes, strides = plan.lists[start : start + axes], plan.lists[start + axes : start + 2 * axes]
            for i, place in enumerate(itertools.product(*(range(n) for n in sizes))):
                rows[to + i] += rows[source + int(np.dot(place, strides))]
    return total


def operations(plan: Contraction) -> int:
    """Multiply-adds of an iteration."""
    turn = plan.ops[plan.counts[0] : sum(plan.counts)].tolist()
    return sum(x[3] * x[4] * x[5] if x[0] == SUM else 2 * x[2] * x[3] for x in turn)


@settings(max_examples=150, deadline=None)
@given(tables(), st.integers(0, 16), st.integers(0, 2**32 - 1))
def test_messages_and_means_are_those_of_einsum(given_tables, turns: int, seed: int) -> None:
    sizes, A_deps = given_tables
    generator = np.random.default_rng(seed)
    plan = contraction(A_deps, sizes, turns=turns)
    lls = [generator.normal(size=[sizes[d] for d in deps]) for deps in A_deps]
    q = [generator.dirichlet(np.ones(n)) for n in sizes]
    logits = [np.zeros(n) for n in sizes]
    mean = 0.0
    for ll, deps in zip(lls, A_deps, strict=True):
        if len(deps) == 1:
            continue
        index = "".join(LETTERS[d] for d in deps)
        for f in deps:
            others = [d for d in deps if d != f]
            rule = ",".join([index, *(LETTERS[d] for d in others)]) + "->" + LETTERS[f]
            logits[f] = logits[f] + np.einsum(rule, ll, *(q[d] for d in others))
        rule = ",".join([index, *(LETTERS[d] for d in deps)]) + "->"
        mean += float(np.einsum(rule, ll, *(q[d] for d in deps)))
    states = sum(sizes)
    rows = np.zeros(2 * states + plan.rows)
    for ll, place in zip(lls, plan.places, strict=True):
        if place >= 0:
            rows[place : place + ll.size] += ll.ravel()
    once, turn = plan.counts
    beliefs = np.concatenate(q)
    run(plan, slice(0, once), rows, beliefs)
    for _ in range(2):  # tables are as they were after an iteration
        rows[:states] = 0
        run(plan, slice(once, once + turn), rows, beliefs)
        for f, (start, expected) in enumerate(zip(np.cumsum([0, *sizes]), logits, strict=False)):
            found = rows[start : start + sizes[f]]  # a constant a factor changes no belief
            np.testing.assert_allclose(found - found[0], expected - expected[0], atol=1e-12)
    assert run(plan, slice(once + turn, None), rows, beliefs) == pytest.approx(mean, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, 5), min_size=3, max_size=5))
def test_no_other_cuts_have_less_work(sizes: list[int]) -> None:
    """All binary trees of messages, by brute force; the table is only ever cut or summed."""

    def least(axes: frozenset[int]) -> int:
        if len(axes) == 1:
            return 0
        best = math.inf
        for k in range(1, len(axes)):
            for left in map(frozenset, itertools.combinations(sorted(axes), k)):
                cost = least(left) + least(axes - left)
                cost += min(chain(axes, order) for order in itertools.permutations(axes - left))
                cost += min(chain(axes, order) for order in itertools.permutations(left))
                best = min(best, cost)
        return int(best)

    def chain(axes: frozenset[int], order: tuple[int, ...]) -> int:
        cost, left = 0, math.prod(sizes[d] for d in axes)
        for d in order:
            cost, left = cost + left + left // sizes[d], left // sizes[d]
        return cost

    plan = contraction([tuple(range(len(sizes)))], sizes, turns=0)
    turn = plan.ops[: plan.counts[1]].tolist()
    found = sum(
        x[3] * x[4] * x[5] + x[3] * x[5] if x[0] == SUM else 2 * x[2] * x[3] + x[2] + x[3] for x in turn
    )
    assert found == least(frozenset(range(len(sizes))))


def test_the_same_parents_are_one_table_and_fewer_parents_are_added_to_more() -> None:
    sizes, deps = [4, 5, 6], [(0, 1, 2), (0, 1, 2), (0, 1), (1, 2)]
    alone, both = contraction(deps[:1], sizes), contraction(deps, sizes)
    assert operations(both) == operations(alone)
    assert operations(contraction(deps, sizes, turns=0)) > 2 * operations(alone)
    assert operations(contraction(deps, sizes, turns=1)) > operations(alone)  # adding them would cost more


def test_six_parents_cost_an_eighth_of_a_product_a_parent() -> None:
    sizes = [7, 7, 3, 7, 5, 6]
    plan = contraction([tuple(range(6))], sizes)
    assert 8 * operations(plan) < 6 * 5 * math.prod(sizes)


@pytest.mark.parametrize("name", ["factors_6x12", "factors_8x16"])
def test_many_factors_infer_and_plan_as_the_reference_does(name: str) -> None:
    arrays = arrays_of(name)
    model = Model.quantized(arrays, precision=Precision.uniform(arrays, 16))
    exact = model.arrays()
    observations = observations_of(arrays, model, 5, 4)
    observations[2, :, 0] = -1
    population = Population(model, 5)
    priors = [list(exact.D) for _ in range(5)]
    for tick in observations:
        actions = population.step(tick)
        for i, outcomes in enumerate(tick):
            decision = reference.step(exact, priors[i], outcomes.tolist())
            assert population.free_energy[i] == pytest.approx(decision.F, abs=2e-3)
            for f, q in enumerate(decision.qs):
                np.testing.assert_allclose(population.beliefs(f)[i], q, atol=2e-3)
            np.testing.assert_allclose(population.expected_free_energy[i], decision.G, atol=2e-3)
            priors[i] = reference.predict(exact, decision.qs, actions[i].tolist())


def test_a_factor_may_come_last_in_a_table_and_first_in_a_model() -> None:
    generator = np.random.default_rng(3)
    A = [np.moveaxis(generator.dirichlet(np.ones(4), size=(5, 3, 2, 4)), -1, 0)]
    B = [np.eye(n)[..., np.newaxis] for n in (4, 2, 3, 5)]
    arrays = model_arrays(A, B, A_deps=[[3, 2, 1, 0]], options=AgentOptions(num_iter=3))
    model = Model.quantized(arrays, precision=Precision.uniform(arrays, 16))
    exact, population = model.arrays(), Population(model, 1)
    population.infer([[2]])
    qs, F = reference.infer(exact, exact.D, [2])
    assert population.free_energy[0] == pytest.approx(F, abs=1e-4)
    for f, q in enumerate(qs):
        np.testing.assert_allclose(population.beliefs(f)[0], q, atol=1e-4)


def test_wide_tables_step_in_narrow_strips_with_the_same_bits() -> None:
    """Over a megabyte of scratch rows a strip: agents beside others have the bits of agents alone."""
    assert MODELS["six_parents"].parents == 6
    generator = np.random.default_rng(0)
    sizes = [9, 9, 8, 9]
    A = [np.moveaxis(generator.dirichlet(np.ones(2), size=sizes), -1, 0)]
    B = [generator.dirichlet(np.ones(n), size=(n, 1)).transpose(2, 0, 1) for n in sizes]
    model = Model.from_arrays(A, B)
    together, few, one = Population(model, 40), Population(model, 10), Population(model, 1)
    for o in (0, 1, 1):
        together.step(np.full((40, 1), o))
        few.step(np.full((10, 1), o))
        one.step([[o]])
    assert (together.codes() == one.codes()).all()
    assert (few.codes() == one.codes()).all()
    assert (together.free_energy == one.free_energy[0]).all()
