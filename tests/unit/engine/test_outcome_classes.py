"""Iterating over classes of states gives what iterating over states gives."""

import numpy as np
import pytest

from edge_agent.engine import reference
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population


def arrays(couplings: int = 1) -> ModelArrays:
    """Thirty places and three beacons; every coupling modality is a level that depends on both."""
    generator = np.random.default_rng(couplings)
    levels = [generator.integers(3, size=(5, 3))[np.arange(30) // 6] for _ in range(couplings)]
    A = [0.1 + 0.7 * np.stack([level == o for o in range(3)]) for level in levels]
    A.append(0.02 / 29 + (0.98 - 0.02 / 29) * np.eye(30))
    B = [generator.dirichlet(np.full(30, 0.1), size=(30, 2)).transpose(2, 0, 1), np.eye(3)[..., np.newaxis]]
    deps = [[0, 1]] * couplings + [[0]]
    return model_arrays([a / a.sum(axis=0) for a in A], B, A_deps=deps, B_deps=[[0], [1]])


@pytest.mark.parametrize("couplings", [1, 2])
def test_beliefs_and_free_energy_are_the_references(couplings: int) -> None:
    given = arrays(couplings)
    model = Model.quantized(given)
    assert model.outcome_classes.patterns == 4**couplings
    assert sum(model.outcome_classes.classes) < sum(model.num_states) / 2
    exact = model.arrays()
    generator = np.random.default_rng(0)
    agents = Population(model, 70)
    prior = [generator.dirichlet(np.ones(n), size=70) for n in model.num_states]
    for f, values in enumerate(prior):
        agents.set_beliefs(f, values)
    stored = [agents.beliefs(f).astype(np.float64) for f in range(2)]
    table = np.stack([generator.integers(-1, n, size=70) for n in model.num_obs], axis=-1)
    agents.infer(table)
    for i, outcomes in enumerate(table):
        qs, energy = reference.infer(exact, [s[i] for s in stored], outcomes)
        assert agents.free_energy[i] == pytest.approx(energy, abs=1e-3)
        for f, p in enumerate(qs):
            q = np.maximum(agents.beliefs(f)[i].astype(np.float64), reference.EPSILON)
            assert (p * np.log(np.maximum(p, 1e-300) / q)).sum() <= 1e-3


def test_a_neighbour_with_a_soft_outcome_changes_no_bits() -> None:
    model = Model.quantized(arrays())
    table = np.stack([np.random.default_rng(1).integers(n, size=9) for n in model.num_obs], axis=-1)
    soft = np.zeros((9, 3), np.float32)
    soft[4] = (0.2, 0.3, 0.5)
    mixed, hard, alone = Population(model, 9), Population(model, 9), Population(model, 1)
    mixed.step_with(table, soft={0: soft})
    hard.step(table)
    alone.step_with(table[4:5], soft={0: soft[4:5]})
    others = np.arange(9) != 4
    assert (mixed.codes()[others] == hard.codes()[others]).all()
    assert (mixed.free_energy[others] == hard.free_energy[others]).all()
    assert (mixed.codes()[4] == alone.codes()[0]).all()
    exact = reference.infer(
        model.arrays(), list(model.arrays().D), [soft[4].astype(np.float64), table[4, 1]]
    )[0]
    assert mixed.beliefs(1)[4] == pytest.approx(exact[1], abs=0.01)
