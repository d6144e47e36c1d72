"""How an agent chooses: the draws of the reference, frequencies, ties, and what is replayed."""

import numpy as np
import pytest

from edge_agent.engine import reference, trace
from edge_agent.engine.arrays import model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import TIE, AgentOptions
from edge_agent.engine.population import Population
from edge_agent.errors import ObservationError

DRAWN = AgentOptions("marginal", "stochastic", alpha=2.0, gamma=1.0)


def two_controls(options: AgentOptions):
    generator = np.random.default_rng(0)
    A = [np.moveaxis(generator.dirichlet(np.ones(4), size=(3, 2)), -1, 0)]
    B = [np.moveaxis(generator.dirichlet(np.ones(n), size=(n, u)), -1, 0) for n, u in ((3, 3), (2, 2))]
    return model_arrays(A, B, [generator.normal(size=4)], policy_len=2, options=options)


@pytest.mark.parametrize("mode", ["full", "marginal"])
def test_draws_are_the_references(mode: str) -> None:
    """Philox keyed by seed and agent, counted by tick and factor, as NumPy has it."""
    arrays = two_controls(AgentOptions(mode, "stochastic", alpha=1.5, gamma=0.5))
    population = Population(Model.quantized(arrays), 400, seed=2**63 + 11)
    generator = np.random.default_rng(1)
    for tick in range(3):
        found = population.step(generator.integers(4, size=(400, 1)))
        q_pi = population.policy_posterior.astype(np.float64)
        expected = [
            reference.choose(arrays, q, seed=2**63 + 11, agent=agent, tick=tick)
            for agent, q in enumerate(q_pi)
        ]
        assert (found == np.array(expected)).all(axis=1).mean() >= 0.995  # float32 edges of intervals


@pytest.mark.parametrize("mode", ["full", "marginal"])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 16.0])
def test_frequencies_are_within_three_standard_errors(mode: str, alpha: float) -> None:
    arrays = two_controls(AgentOptions(mode, "stochastic", alpha=alpha, gamma=1.0))
    draws = 10_000
    population = Population(Model.quantized(arrays), draws, seed=5)
    actions = population.step(np.full((draws, 1), 2))
    q_pi = reference.step(arrays, arrays.D, [2]).q_pi
    for f, count in enumerate(arrays.num_controls):
        first = arrays.policies[:, 0, f]
        if mode == "full":
            p = q_pi**alpha / (q_pi**alpha).sum()
            expected = np.bincount(first, p, count)
        else:
            marginal = np.bincount(first, q_pi, count)
            expected = marginal**alpha / (marginal**alpha).sum()
        found = np.bincount(actions[:, f], minlength=count) / draws
        error = np.sqrt(expected * (1 - expected) / draws)
        assert (np.abs(found - expected) <= 3 * error + 1e-3).all()


def test_a_checkpoint_continues_the_draws() -> None:
    model = Model.quantized(two_controls(DRAWN))
    rows = np.random.default_rng(0).integers(4, size=(6, 50, 1))
    straight = Population(model, 50, seed=9)
    expected = np.stack([straight.step(row) for row in rows])
    first = Population(model, 50, seed=9)
    found = [first.step(row) for row in rows[:3]]
    second = Population(model, 50, seed=9, threads=2)
    second.restore(first.checkpoint())
    found += [second.step(row) for row in rows[3:]]
    assert (np.stack(found) == expected).all()


@pytest.mark.parametrize("mode", ["full", "marginal"])
def test_a_tie_within_the_tolerance_goes_to_the_lowest_index(mode: str) -> None:
    """Three ways that differ by rounding alone, and a fourth that is better by more than the tolerance."""
    for better, expected in ((TIE / 100, 0), (0.01, 3)):
        C = [np.array([0.0, 0.0, 0.0, better])]
        B = [np.stack([np.eye(4)[[k] * 4].T for k in range(4)], axis=-1)]
        arrays = model_arrays([np.eye(4)], B, C, options=AgentOptions(mode, gamma=4.0))
        assert Population(Model.quantized(arrays), 1).step([[1]])[0, 0] == expected
        assert reference.step(arrays, arrays.D, [1]).act[0] == expected


def test_of_many_policies_the_best_wins_though_none_is_probable() -> None:
    """625 policies with pymdp's gamma of 1: the best is more probable than the first by less than 1e-4."""
    B = [np.stack([np.roll(np.eye(5), u, axis=0) for u in range(5)], axis=-1)]
    C = [np.array([0.0, 0.0, 0.0, 0.02, 0.0])]
    options = AgentOptions("full", gamma=1.0)
    arrays = model_arrays([np.eye(5)], B, C, policy_len=4, options=options)
    expected = reference.step(arrays, arrays.D, [1])
    assert expected.q_pi.max() - expected.q_pi[0] < 2e-4
    assert expected.act[0] == 2
    assert Population(Model.quantized(arrays), 1).step([[1]])[0, 0] == 2


def test_gamma_0_makes_every_policy_as_likely_as_its_prior() -> None:
    arrays = two_controls(AgentOptions(gamma=0.0))
    habits = np.random.default_rng(3).dirichlet(np.ones(len(arrays.policies)))
    model = Model.from_arrays(
        arrays.A, arrays.B, arrays.C, E=habits, policy_len=2, options=AgentOptions(gamma=0.0)
    )
    population = Population(model, 2)
    actions = population.step([[1], [3]])
    np.testing.assert_allclose(population.policy_posterior, np.tile(habits, (2, 1)), atol=1e-5)
    assert (actions == model.policies[habits.argmax(), 0]).all()


def test_a_list_of_allowed_policies() -> None:
    policies = np.array([[[2, 0], [0, 1]], [[1, 1], [2, 0]], [[0, 0], [0, 0]]])
    arrays = two_controls(AgentOptions())
    arrays = model_arrays(arrays.A, arrays.B, arrays.C, policies=policies, E=[0.2, 0.5, 0.3])
    population = Population(Model.quantized(arrays), 1)
    found, expected = population.step([[2]])[0], reference.step(arrays, arrays.D, [2])
    np.testing.assert_allclose(population.policy_posterior[0], expected.q_pi, atol=0.02)
    assert found.tolist() == expected.act.tolist()
    assert found.tolist() in policies[:, 0].tolist()


def test_a_recording_may_hold_distributions_over_outcomes() -> None:
    arrays = two_controls(AgentOptions("marginal"))
    model = Model.quantized(arrays)
    soft = np.random.default_rng(2).dirichlet(np.ones(4), size=5)
    soft[3] = 0.0  # its outcome counts
    observed = np.array([[-1], [-1], [-1], [1], [-1]])
    out = trace.run(model, observed, soft={0: soft.astype(np.float32)})
    prior = list(arrays.D)
    for t, row in enumerate(soft):
        expected = reference.infer(arrays, prior, [row if row.any() else observed[t, 0]])[0]
        for f, q in enumerate(expected):
            np.testing.assert_allclose(out[f"qs_{f}"][t], q, atol=0.01)
        prior = reference.predict(arrays, expected, out["act"][t].tolist())
    with pytest.raises(
        ObservationError, match=r"soft_0: float32 of shape \(4, 4\), expected numbers \[5, out"
    ):
        trace.run(model, observed, soft={0: soft[:4].astype(np.float32)})
