"""Whatever a valid model holds: finite numbers, and contradictions as the float64 reference counts them."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks.random_models import ANY, USUAL, not_a_number, random_model
from edge_agent.engine import reference
from edge_agent.engine.arrays import model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.errors import ModelError


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1))
@example(6079024)  # a prediction that rounding left below 0
def test_no_nan_whatever_a_valid_model_holds(seed: int) -> None:
    assert not_a_number(random_model(seed, ANY), seed, ticks=4) == 0


@pytest.mark.parametrize("background", [1e-30, 1e-38, 1e-40, 5e-324, 1e-300])
@pytest.mark.parametrize("factors", [1, 2])
def test_a_sparse_tensor_with_a_tiny_background(background: float, factors: int) -> None:
    A = [np.full((12, 12), background) for _ in range(factors)]
    for a in A:
        np.fill_diagonal(a, 1.0)
    B = [np.roll(np.eye(12), 1, axis=0)[:, :, np.newaxis]] * factors
    population = Population(Model.from_arrays(A, B, A_deps=[[f] for f in range(factors)]), 2)
    for outcome in (3, 4, 11, 0):
        population.step([[outcome] * factors] * 2)
        assert np.isfinite(population.beliefs(0)).all()
        assert np.isfinite(population.free_energy).all()
    np.testing.assert_allclose(population.beliefs(0)[0], np.eye(12)[0], atol=1e-3)


def test_free_energy_where_the_background_is_clipped() -> None:
    """Sure of an outcome that is listed: no surprise, whatever the rest of its row is."""
    for background in (1e-10, 1e-15, 1e-18, 1e-25, 0.0):
        A = np.full((30, 30), background)
        np.fill_diagonal(A, 1.0)
        D = np.eye(30)[4]
        population = Population(Model.from_arrays([A], [np.eye(30)[:, :, np.newaxis]], None, [D]), 1)
        population.step([[4]])
        assert abs(population.free_energy[0]) < 1e-3


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), st.sampled_from(["keep", "reset"]))
def test_contradictions_are_the_references(seed: int, choice: str) -> None:
    """From the kernel's own prediction, so that only this step can differ; margins of half a nat are left
    out."""
    arrays = random_model(seed, USUAL, AgentOptions(on_contradiction=choice))
    population = Population(Model.quantized(arrays), 1)
    generator = np.random.default_rng(seed)
    prior = list(arrays.D)
    for _ in range(6):
        observation = [int(generator.integers(-1, n)) for n in arrays.num_obs]
        before = population.contradictions
        action = population.step([observation])[0]
        free_energies = {
            reference.contradicts(
                arrays, prior, observation, reference.infer(arrays, prior, observation)[1] + x
            )
            for x in (-0.5, 0.0, 0.5)
        }
        if len(free_energies) == 1:
            assert population.contradictions - before == int(free_energies.pop())
        qs = [population.beliefs(f)[0].astype(np.float64) for f in range(len(arrays.B))]
        prior = reference.predict(arrays, qs, action)


def test_the_limit_of_a_contradiction_grows_with_the_modalities_observed() -> None:
    """Rare outcomes of many sensors are no contradiction; one that cannot be is one."""
    rare = np.array([[0.99, 0.01], [0.01, 0.99]])
    many, B = 16, [np.eye(2)[:, :, np.newaxis]]
    population = Population(Model.from_arrays([rare] * many, B, None, [[0.5, 0.5]]), 1)
    population.step([[0] * many])
    population.step([[1] * 3 + [0] * (many - 3)])
    assert population.contradictions == 0
    sure = Population(Model.from_arrays([np.eye(2)] * 2, B, None, [[1.0, 0.0]]), 1)
    sure.step([[1, -1]])
    assert sure.contradictions == 1


def test_possible_observations_of_many_factors_are_no_contradictions() -> None:
    """6 factors, 12 modalities: free energies above 33 nats are common where iteration goes astray."""
    generator = np.random.default_rng(1)
    states = [4] * 6
    deps = [sorted(generator.choice(6, 3, replace=False).tolist()) for _ in range(12)]
    A = [np.moveaxis(generator.dirichlet(np.full(6, 0.3), size=(4, 4, 4)), -1, 0) for _ in deps]
    B = [np.moveaxis(generator.dirichlet(np.full(4, 0.3), size=(4, 1)), -1, 0) for _ in states]
    population = Population(Model.from_arrays(A, B, A_deps=deps), 1)
    place = [0] * 6
    surprised = 0
    for _ in range(150):
        columns = [a[(slice(None), *[place[d] for d in dep])] for a, dep in zip(A, deps, strict=True)]
        population.step([[int(generator.choice(6, p=c / c.sum())) for c in columns]])
        surprised += int(population.free_energy[0] > 33)
        place = [
            int(generator.choice(4, p=b[:, s, 0] / b[:, s, 0].sum())) for b, s in zip(B, place, strict=True)
        ]
    assert surprised > 5
    assert population.contradictions <= surprised / 5


def test_preferences_beyond_float32_are_refused() -> None:
    with pytest.raises(ModelError, match=r"C_0: entry \(1,\) is 1e\+300, expected 1e\+30 at most"):
        model_arrays([np.eye(2)], [np.eye(2)[:, :, np.newaxis]], [[0.0, 1e300]])
