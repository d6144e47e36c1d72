"""Sixteen bits where eight are not enough: accuracy, size, and everything that carries a belief."""

import json

import numpy as np
import pytest

from edge_agent.engine import payload, reference
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population
from edge_agent.engine.precision import Precision
from edge_agent.errors import ModelError


@pytest.fixture
def arrays() -> ModelArrays:
    generator = np.random.default_rng(4)
    A = [np.moveaxis(generator.dirichlet(np.full(20, 0.5), size=30), -1, 0)]
    B = [np.moveaxis(generator.dirichlet(np.full(30, 0.5), size=(30, 3)), -1, 0)]
    return model_arrays(A, B, [generator.normal(size=20)])


def followed(arrays: ModelArrays, precision: Precision) -> float:
    """Return the largest KL of a belief from the float64 reference's over thirty steps."""
    population = Population(Model.quantized(arrays, precision=precision), 1)
    generator, prior, worst = np.random.default_rng(0), list(arrays.D), 0.0
    for _ in range(30):
        outcome = int(generator.integers(20))
        expected = reference.step(arrays, prior, [outcome])
        population.step([[outcome]])
        population.act([expected.act])
        q = np.maximum(population.beliefs(0)[0].astype(np.float64), reference.EPSILON)
        worst = max(worst, float(expected.qs[0] @ (reference.log(expected.qs[0]) - np.log(q))))
        prior = reference.predict(arrays, expected.qs, expected.act)
    return worst


def test_sixteen_bits_are_nearer_to_the_reference(arrays: ModelArrays) -> None:
    assert followed(arrays, Precision.uniform(arrays, 16)) <= 1e-6
    assert 1e-6 < followed(arrays, Precision.uniform(arrays)) <= 1e-3


def test_eight_bits_are_stored_as_before(arrays: ModelArrays) -> None:
    plain, stated = Model.quantized(arrays), Model.quantized(arrays, precision=Precision.uniform(arrays))
    assert plain.entries() == stated.entries()
    text = json.loads(plain.entries()["model.json"])
    assert "belief_bits" not in text
    assert "bits" not in text["A"][0]


def test_a_bundle_and_a_checkpoint_keep_sixteen_bits(arrays: ModelArrays) -> None:
    precision = Precision((16,), (8,), (16,))
    model = Model.quantized(arrays, precision=precision)
    again = Model(name="m", meta={}, **payload.fields(model.entries()))
    payload.check(again)
    assert ([t.bits for t in (*again.A, *again.B)], again.belief_bits) == ([16, 8], (16,))
    assert again.digest == model.digest
    first, second = Population(model, 70, seed=1), Population(again, 70, seed=1)
    for outcome in (3, 7):
        first.step(np.full((70, 1), outcome))
    assert first.codes().shape == (70, 60)
    second.restore(first.checkpoint())
    rows = np.arange(70).reshape(70, 1) % 20
    assert (first.step(rows) == second.step(rows)).all()
    assert (first.codes() == second.codes()).all()


def test_beliefs_set_and_run_again_in_sixteen_bits(arrays: ModelArrays) -> None:
    population = Population(Model.quantized(arrays, precision=Precision((8,), (8,), (16,))), 3)
    q = np.random.default_rng(0).dirichlet(np.ones(30), size=3)
    population.set_beliefs(0, q)
    np.testing.assert_allclose(population.beliefs(0), q, rtol=2e-3, atol=1e-9)
    start = population.codes()
    population.infer([[1], [2], [3]])
    expected = population.codes()
    population.rerun([[[1], [2], [3]]], [[[-1]] * 3], start=start)
    assert (population.codes() == expected).all()


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        (Precision((8, 8), (8,), (8,)), r"precision: A is \[8, 8\], expected 1 times 8 or 16"),
        (Precision((8,), (8,), (12,)), r"precision: beliefs is \[12\], expected 1 times 8 or 16"),
    ],
)
def test_a_precision_of_another_model_is_refused(arrays: ModelArrays, precision, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Model.quantized(arrays, precision=precision)
