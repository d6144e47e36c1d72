"""Bundles of releases without options: the same bits as these releases gave.

``tests/golden/before_options/bundles.npz`` holds payloads and the SHA-256 of what revision 8f2a702 computed
from them: actions, codes, free energies, G and q(pi) of twelve ticks.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from edge_agent.engine import payload
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population

BUNDLES = Path(__file__).parents[2] / "golden" / "before_options" / "bundles.npz"
AGENTS, TICKS = 150, 12


@pytest.mark.parametrize("number", range(6))
def test_same_bits(number: int) -> None:
    with np.load(BUNDLES) as data:
        entries = {key.removeprefix(f"{number}/"): data[key] for key in data if key.startswith(f"{number}/")}
    expected, contradictions = entries.pop("sha256").tobytes(), int(entries.pop("contradictions"))
    model = Model(name="old", meta={}, **payload.fields({k: v.tobytes() for k, v in entries.items()}))
    population, generator = Population(model, AGENTS, seed=3), np.random.default_rng(1)
    total = hashlib.sha256()
    for t in range(TICKS):
        observed = np.stack([generator.integers(-1, n, AGENTS) for n in model.num_obs], axis=-1)
        if t % 3:
            results = [population.step(observed)]
        else:
            soft = generator.dirichlet(np.ones(model.num_obs[0]), AGENTS)
            results = [population.step_with(observed, soft={0: soft})]
        for array in (*results, population.codes(), population.free_energy, *population.evaluate()):
            total.update(np.ascontiguousarray(array).tobytes())
    assert population.contradictions == contradictions
    assert total.digest() == expected
