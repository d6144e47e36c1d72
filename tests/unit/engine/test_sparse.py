"""Tensors given by their entries: the same model as the dense tensor gives, and large ones at little cost."""

import tracemalloc

import numpy as np
import pytest

from edge_agent.engine import golden, payload, reference, storage
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.engine.sparse import Sparse, from_dense
from edge_agent.errors import ModelError


def ring(states: int) -> dict:
    """Return A and B of a ring: a noisy sensor of the place, and steps left, none, right that may fail."""
    place = np.arange(states)
    A = Sparse((states, states), place * (states + 1), np.full(states, 0.98), 0.02 / (states - 1))
    places, values = [], []
    for u, step in enumerate((-1, 0, 1)):
        places += [((place + step) % states * states + place) * 3 + u]
        values += [np.full(states, 0.9 if step else 1.0)]
        if step:
            places += [(place * states + place) * 3 + u]
            values += [np.full(states, 0.1)]
    order = np.argsort(np.concatenate(places))
    B = Sparse((states, states, 3), np.concatenate(places)[order], np.concatenate(values)[order])
    preferred = np.zeros(states)
    preferred[7] = 3.0
    return {"A": [A], "B": [B], "C": [preferred]}


def dense(model: dict) -> dict:
    return {"A": [a.dense() for a in model["A"]], "B": [b.dense() for b in model["B"]], "C": model["C"]}


def test_entries_and_the_whole_give_the_same_model() -> None:
    model = ring(30)
    one, other = Model.from_arrays(**model), Model.from_arrays(**dense(model))
    assert one.entries() == other.entries()


def test_the_reference_takes_either() -> None:
    model = ring(12)
    options = AgentOptions(use_inductive=True, inductive_depth=4)
    goal = [np.eye(12)[7]]
    one = model_arrays(**model, options=options, H=goal)
    other = model_arrays(**dense(model), options=options, H=goal)
    for found, expected in zip(one.I or (), other.I or (), strict=True):
        np.testing.assert_array_equal(found, expected)
    for observation in ([3], [-1], [np.random.default_rng(0).dirichlet(np.ones(12))]):
        first, second = (reference.step(m, m.D, observation) for m in (one, other))
        np.testing.assert_allclose(first.qs[0], second.qs[0], atol=1e-12)
        np.testing.assert_allclose(first.G, second.G, atol=1e-9)
        np.testing.assert_allclose(first.F, second.F, atol=1e-9)


@pytest.mark.parametrize("distinct", [3, 200, 100_000])
def test_a_large_tensor_is_stored_as_it_was_before(distinct: int) -> None:
    """Looking at the entries that differ from the background changes no byte."""
    generator = np.random.default_rng(distinct)
    tensor = np.zeros((300, 300))
    values = generator.random(distinct)
    for s in range(300):
        tensor[generator.permutation(300)[:4], s] = generator.choice(values, 4)
    tensor /= tensor.sum(axis=0)
    found, expected = storage.store(tensor, False), storage._store_dense(tensor, False, 8)
    assert storage.entries("A", found) == storage.entries("A", expected)
    assert found.background == expected.background


def test_a_ring_of_5000_states_is_made_and_loaded_within_100_megabytes() -> None:
    model = ring(5000)
    tracemalloc.start()
    try:
        made = Model.from_arrays(**model)
        vectors = golden.make(made)
        again = Model(name="ring", meta={}, **payload.fields(made.entries()))
        payload.check(again)
        golden.check(again, vectors)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    arrays: ModelArrays = again.arrays()
    population, prior = Population(again, 1), list(arrays.D)
    for outcome in (40, 41, 40):
        expected = reference.step(arrays, prior, [outcome])
        population.step([[outcome]])
        population.act([expected.act])
        np.testing.assert_allclose(population.policy_posterior[0], expected.q_pi, atol=0.05)
        prior = reference.predict(arrays, expected.qs, expected.act.tolist())


def test_what_has_no_background_stays_whole() -> None:
    assert from_dense(np.random.default_rng(0).random((20, 20))) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"places": np.array([0, 0])}, "A_0: places are not ascending from 0 to 3"),
        ({"places": np.array([0, 4])}, "A_0: places are not ascending from 0 to 3"),
        ({"values": np.array([1.0, np.nan])}, "A_0: an entry is not finite"),
        ({"values": np.array([1.0])}, r"A_0: 2 places and 1 values in \(2, 2\)"),
        ({"values": np.array([-1.0, 1.0])}, r"A_0: entry \(0, 0\) is below 0"),
        ({"values": np.array([0.5, 1.0])}, r"A_0: column \(0,\) sums to 0.5, expected 1"),
        ({"shape": (2, 3)}, r"A_0: shape \(2, 3\), expected \(2, 2\)"),
    ],
)
def test_entries_that_are_no_tensor_are_named(changed: dict, message: str) -> None:
    stated = {"shape": (2, 2), "places": np.array([0, 3]), "values": np.array([1.0, 1.0])} | changed
    with pytest.raises(ModelError, match=message):
        model_arrays([Sparse(**stated)], [np.eye(2)[:, :, np.newaxis]])
