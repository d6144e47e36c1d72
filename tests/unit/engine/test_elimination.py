"""Exact inference of several factors: marginals of the joint table, whatever is observed."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.random_models import USUAL, Ranges, random_model
from edge_agent.engine import payload, reference
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.engine.precision import Precision
from edge_agent.errors import ModelError

EXACT = AgentOptions(inference_algo="exact")
SEVERAL = Ranges((2, 6), (1, 10), concentration=USUAL.concentration)


def joint_marginals(arrays: ModelArrays, prior, observation):
    """Marginals of the whole joint table of all factors, and -ln p(o): no elimination, no plan."""
    joint = np.ones(arrays.num_states)
    for f, p in enumerate(prior):
        joint = joint * p.reshape([-1 if g == f else 1 for g in range(len(prior))])
    for a, o, deps in zip(arrays.A, observation, arrays.A_deps, strict=True):
        if o >= 0:
            shape = [arrays.num_states[g] if g in deps else 1 for g in range(len(prior))]
            joint = joint * a[o].reshape(shape)  # deps are sorted
    total = joint.sum()
    axes = range(len(prior))
    return [joint.sum(axis=tuple(g for g in axes if g != f)) / total for f in axes], -np.log(total)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1))
def test_marginals_are_those_of_the_joint_table(seed: int) -> None:
    arrays = random_model(seed, SEVERAL, EXACT)
    generator = np.random.default_rng(seed)
    population = Population(Model.quantized(arrays, precision=Precision.uniform(arrays, 16)), 3)
    place = [int(generator.choice(n)) for n in arrays.num_states]
    columns = [
        a[(slice(None), *[place[d] for d in deps])] for a, deps in zip(arrays.A, arrays.A_deps, strict=True)
    ]
    observation = [int(generator.choice(len(c), p=c / c.sum())) for c in columns]
    observation[int(generator.integers(len(observation)))] = -1
    expected, F = joint_marginals(arrays, arrays.D, observation)
    if F > 20:
        return  # so odd that clipping at epsilon shows
    qs, free_energy = reference.infer(arrays, arrays.D, observation)
    population.step([observation] * 3)
    assert free_energy == pytest.approx(F, rel=1e-6, abs=1e-6)
    assert population.free_energy[2] == pytest.approx(F, rel=1e-3, abs=1e-3)
    for f, q in enumerate(expected):
        np.testing.assert_allclose(qs[f], q, atol=1e-9)
        np.testing.assert_allclose(population.beliefs(f)[1], q, atol=2e-4)


@pytest.mark.parametrize("outcomes", [[1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0]])
def test_outcomes_that_contradict_each_other_are_inferred_as_the_reference_does(outcomes) -> None:
    """Products of several clipped likelihoods are below float32; what is left decides."""
    pair = np.zeros((2, 3, 3))
    pair[1] = np.eye(3)
    pair[0] = 1 - pair[1]
    first = np.zeros((2, 3))
    first[1, 0] = first[0, 1] = first[0, 2] = 1.0
    same = [np.eye(3)[:, :, np.newaxis]] * 2
    deps = [[0, 1]] + [[0], [1]] + [[0, 1]] * 3
    A = [pair, first, first, *[1 - pair] * 3]
    arrays = model_arrays(A, same, None, [[0, 0, 1.0], [1.0, 0, 0]], A_deps=deps, options=EXACT)
    observation = [*outcomes, *outcomes]
    population = Population(Model.quantized(arrays), 2)
    population.step([observation, [-1] * 6])
    qs, F = reference.infer(arrays, arrays.D, observation)
    for f, q in enumerate(qs):
        np.testing.assert_allclose(population.beliefs(f)[0], q, atol=5e-3)
        np.testing.assert_allclose(population.beliefs(f)[1], arrays.D[f], atol=1e-6)
    assert population.free_energy[0] == pytest.approx(F, rel=1e-4, abs=1e-3)


def test_what_nothing_explains_leaves_the_prediction() -> None:
    """Forty sensors that each are impossible: even double precision holds nothing of it."""
    never = np.zeros((2, 2, 2))
    never[0] = 1.0
    same = [np.eye(2)[:, :, np.newaxis]] * 2
    arrays = model_arrays([never] * 40, same, None, [[0.9, 0.1], [0.5, 0.5]], options=EXACT)
    population = Population(Model.quantized(arrays), 1)
    population.step([[1] * 40])
    np.testing.assert_allclose(population.beliefs(0)[0], [0.9, 0.1], atol=5e-3)
    assert np.isfinite(population.free_energy).all()
    assert population.contradictions == 1


def test_tables_that_are_too_large_are_refused_with_their_size() -> None:
    A = [np.full((2, *(8,) * 6), 0.5)]
    B = [np.eye(8)[:, :, np.newaxis]] * 6
    with pytest.raises(ModelError) as error:
        Model.from_arrays(A, B, options=EXACT)
    assert str(error.value) == (
        "inference_algo: exact inference needs tables of 299592 entries (the largest joins factors "
        "[0, 1, 2, 3, 4, 5]), at most 65536; fpi needs none"
    )


def test_a_bundle_of_exact_inference_gives_the_same_bits() -> None:
    arrays = random_model(5, SEVERAL, EXACT)
    model = Model.quantized(arrays)
    again = Model(name="m", meta={}, **payload.fields(model.entries()))
    generator = np.random.default_rng(0)
    observed = np.stack([generator.integers(-1, n, 70) for n in arrays.num_obs], axis=-1)
    first, second = Population(model, 70), Population(again, 70, threads=2)
    assert (first.step(observed) == second.step(observed)).all()
    assert (first.codes() == second.codes()).all()
