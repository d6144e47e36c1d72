"""A model made again from counts: what concentrations expect; what did not learn stays as delivered."""

from dataclasses import replace

import numpy as np
import pytest

from edge_agent.engine import reference
from edge_agent.engine.counts import rule
from edge_agent.engine.counts.concentrations import Concentrations, in_pymdp_order
from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.counts.recode import recoded
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from tests.unit.engine.counts.conftest import learned_model, readings


def kl(p: np.ndarray, q: np.ndarray) -> float:
    q = q / q.sum(axis=0)
    return float((p * (np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(q, 1e-300)))).sum(axis=0).max())


def go_on(new: Population, old: Population) -> None:
    for own, other in zip(new.state, old.state, strict=True):
        own[:] = other


def taught(learned, agents: int = 30, ticks: int = 25):
    learner = Learner(Population(learned.model, agents), learned.concentrations)
    rng = np.random.default_rng(1)
    for table in readings(rng, agents, ticks):
        learner.population.step(table)
        learner.population.act(np.stack([rng.integers(0, u, agents) for u in learned.model.num_controls], 1))
    return learner


def test_learned_tensors_are_what_the_concentrations_expect(learned) -> None:
    increments = taught(learned).increments()
    new = recoded(learned.model, learned.concentrations.after(increments)).arrays()
    for kind, tensors, found in (("A", learned.A, new.A), ("B", learned.B, new.B)):
        for i, tensor in enumerate(tensors):
            counts = in_pymdp_order(kind, increments.counts(f"{kind}_{i}"))
            wanted = 5 * tensor + 0.1 + counts
            assert kl(wanted / wanted.sum(axis=0), np.asarray(found[i])) < 2e-4


def test_the_reference_decides_with_the_new_model_as_the_kernel_does(learned) -> None:
    old = taught(learned).population
    increments = taught(learned).increments()
    model = recoded(learned.model, learned.concentrations.after(increments))
    population = Population(model, old.size)
    go_on(population, old)
    arrays = model.arrays()
    table = readings(np.random.default_rng(2), old.size, 1)[0]
    beliefs = [population.beliefs(f).astype(float) for f in range(3)]
    executed = np.array([old.state[1].transpose(0, 2, 1).reshape(-1, 3)[n] for n in range(old.size)])
    chosen = population.step(table)
    for n in range(old.size):
        prior = reference.predict(arrays, [b[n] for b in beliefs], executed[n])
        prior = [p / p.sum() for p in prior]
        decision = reference.step(arrays, prior, table[n])
        for f in range(3):
            assert population.beliefs(f)[n] == pytest.approx(decision.qs[f], abs=5e-3)
        gap = np.sort(decision.q_pi)[::-1]
        if gap[0] - gap[1] > 0.05:
            assert (chosen[n] == decision.act).all()


def test_what_does_not_learn_stays_as_delivered(learned) -> None:
    own = Concentrations.of(learned.model, pA=[None, learned.concentrations.A[1], None])
    new = recoded(learned.model, own)
    assert [a is b for a, b in zip(new.A, learned.model.A, strict=True)] == [True, False, True]
    assert all(a is b for a, b in zip(new.B, learned.model.B, strict=True))
    for group, deps in enumerate(new.folds.groups):
        same = new.folds.ambiguity[group] is learned.model.folds.ambiguity[group]
        assert same == (deps != learned.model.A_deps[1])


def test_masked_zeros_stay_zero_and_others_are_learned() -> None:
    learned = learned_model()
    pA = [np.where(a < 0.05, 0.0, 5 * a) for a in learned.A]
    for masked in (False, True):
        own = Concentrations.of(learned.model, pA=pA, masked=masked)
        after = own.after(taught(learned._replace(concentrations=own)).increments())
        zeros = pA[1] == 0
        assert zeros.any()
        assert (np.asarray(recoded(learned.model, after).arrays().A[1])[zeros] == 0).all() == masked


def test_learning_rates_weigh_the_counts(learned) -> None:
    increments = taught(learned).increments()
    twice = Concentrations.of(learned.model, pA=learned.concentrations.A, lr_pA=2.5).after(increments)
    counts = increments.counts("A_0")
    assert np.allclose(twice.A[0], learned.concentrations.A[0] + 2.5 * counts)


def test_information_gain_on_parameters_is_that_of_the_learned_counts() -> None:
    learned = learned_model()
    counts = learned.concentrations
    model = Model.from_arrays(
        learned.A,
        learned.B,
        A_deps=learned.model.A_deps,
        B_deps=learned.model.B_deps,
        options=AgentOptions(use_param_info_gain=True),
        pA=counts.A,
        pB=counts.B,
    )
    after = counts.after(taught(learned._replace(model=model)).increments())
    found = recoded(model, after).arrays()
    wanted = replace(
        model.arrays(), A=tuple(map(rule.expected, after.A)), B=tuple(map(rule.expected, after.B))
    )
    beliefs = [np.full(n, 1 / n) for n in model.num_states]
    direct = reference.expected_free_energy(replace(wanted, gains=None, pA=after.A, pB=after.B), beliefs)
    assert reference.expected_free_energy(found, beliefs) == pytest.approx(direct, abs=2e-3)
    before = reference.expected_free_energy(model.arrays(), beliefs)
    assert np.abs(direct - before).max() > 0.05


def test_expected_columns_are_normalised() -> None:
    out = rule.expected(np.array([[1.0, 0.0], [3.0, 0.0]]))
    assert out == pytest.approx(np.array([[0.25, 0.5], [0.75, 0.5]]))
