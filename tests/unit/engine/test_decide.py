"""Decisions within a tick: the readings so far count once, from the beliefs at the tick's boundary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.engine import reference
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.errors import ConfigError, ObservationError

SIZE = 21


def arrays(**options: object) -> ModelArrays:
    rng = np.random.default_rng(4)
    A = [np.moveaxis(rng.dirichlet(np.full(3, 0.7), size=(4, 2)), -1, 0) for _ in range(3)]
    B = [np.moveaxis(rng.dirichlet(np.full(n, 0.5), size=(n, 2)), -1, 0) for n in (4, 2)]
    C = [rng.normal(size=3) for _ in range(3)]
    return model_arrays(A, B, C, policy_len=1, options=AgentOptions(**options))  # type: ignore[arg-type]


def twins(**options: object) -> tuple[Population, Population]:
    """Return a population that decides within ticks, and one that steps once per tick."""
    model = Model.quantized(arrays(**options))
    return Population(model, SIZE, seed=3, redecides=True), Population(model, SIZE, seed=3)


def state(population: Population) -> tuple[bytes, bytes, int]:
    return population.checkpoint(), population.free_energy.tobytes(), population.contradictions


@given(st.data())
def test_whatever_is_decided_within_a_tick_its_end_is_one_step_bit_for_bit(data: st.DataObject) -> None:
    options = {"action_selection": data.draw(st.sampled_from(["deterministic", "stochastic"]))}
    within, once = twins(**options)
    rows = st.lists(st.lists(st.integers(-1, 2), min_size=3, max_size=3), min_size=SIZE, max_size=SIZE)
    for _ in range(data.draw(st.integers(1, 3))):
        for _ in range(data.draw(st.integers(0, 3))):
            agents = data.draw(st.lists(st.integers(0, SIZE - 1), min_size=1, unique=True))
            within.decide(np.array(data.draw(rows))[: len(agents)], agents[:SIZE])
        last = np.array(data.draw(rows))
        decided = within.decide(last)
        assert (within.step(last) == decided).all()
        assert (once.step(last) == decided).all()
        assert state(within) == state(once)
        for f in range(2):
            np.testing.assert_array_equal(within.beliefs(f), once.beliefs(f))


def test_beliefs_within_the_first_tick_are_bayes_rule_from_D() -> None:
    within, once = twins()
    observed = np.array([[0, 1, -1]])
    within.decide(observed, [5])
    expected, _ = reference.infer(arrays(), [np.full(4, 0.25), np.full(2, 0.5)], observed[0])
    np.testing.assert_allclose(within.beliefs(0)[5], expected[0], atol=5e-3)
    np.testing.assert_array_equal(within.beliefs(0)[6], once.beliefs(0)[6])  # D
    assert within.likeliest(0, 5) == (expected[0].argmax(), pytest.approx(expected[0].max(), abs=5e-3))
    assert within.likeliest(0, 6) == (0, pytest.approx(0.25))  # D


def test_a_checkpoint_within_a_tick_is_that_of_its_boundary() -> None:
    within, once = twins()
    observed = np.tile([0, 1, 2], (SIZE, 1))
    for population in (within, once):
        population.step(observed)
    within.decide(observed[:2], [3, 4])
    assert within.checkpoint() == once.checkpoint()
    other = Population(within.model, SIZE, seed=3, redecides=True)
    other.decide(observed)
    other.restore(within.checkpoint())
    assert (other.step(observed) == within.step(observed)).all()
    assert other.checkpoint() == within.checkpoint()


def test_what_is_executed_or_believed_from_outside_holds_at_the_boundary() -> None:
    within, once = twins()
    observed = np.tile([0, 1, 2], (SIZE, 1))
    for population in (within, once):
        population.step(observed)
        population.act(np.zeros((SIZE, 2), int))
    within.decide(observed)
    for population in (within, once):
        population.set_beliefs(1, np.tile([0.9, 0.1], (SIZE, 1)))
        population.step(observed)
    assert state(within) == state(once)
    within.decide(observed)
    for population in (within, once):
        population.infer(np.full((SIZE, 3), -1))
        population.reset([1])
    assert state(within) == state(once)


def test_a_bad_observation_changes_nothing() -> None:
    within, once = twins()
    with pytest.raises(ObservationError, match="agent 2, modality 1"):
        within.decide([[0, 7, 0]], [2])
    assert state(within) == state(once)
    with pytest.raises(ConfigError, match="made without redecides"):
        once.decide([[0, 0, 0]], [2])


def test_the_boundary_takes_a_byte_per_belief_byte_and_one_more() -> None:
    within, once = twins()
    lanes = 64
    assert within.nbytes - once.nbytes == lanes * (4 + 2 + 1)
