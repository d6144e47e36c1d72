"""Sophisticated inference: the kernel beside the reference, its bounds, and what is refused.

That both decide as pymdp's search does is what ``make parity`` measures, on live agents (``si_...``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edge_agent.engine import payload, reference
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.engine.precision import Precision
from edge_agent.errors import BudgetError, ConfigError, ModelError
from edge_agent.memory.arena import Arena, total

CASES = ("one factor", "certain outcomes", "several factors", "exact", "three modalities")


def columns(generator: np.random.Generator, rows: int, *shape: int) -> Any:
    return np.moveaxis(generator.dirichlet(np.full(rows, 0.2), size=shape), -1, 0)


def agent(case: str, **options: Any) -> ModelArrays:
    """Return a random model whose agents search; of each case another part of the kernel infers."""
    generator = np.random.default_rng(CASES.index(case))
    stated = {
        "sophisticated": True,
        "gamma": 2.0,
        "si_horizon": 3,
        "si_entropy_stop_threshold": 0.0,
    } | options
    if case == "exact":
        stated["inference_algo"] = "exact"
    states = (6,) if case in ("one factor", "certain outcomes") else (4, 3)
    A = [columns(generator, 5, *states)]
    deps = [list(range(len(states)))]
    if case == "certain outcomes":
        A.append(np.eye(6)[[0, 1, 2, 2, 1, 0]].T)
    if case == "three modalities":
        A += [columns(generator, 3, 3), np.eye(4)]
    deps += [[0]] if case == "certain outcomes" else [[1], [0]] if case == "three modalities" else []
    A[1:2] = [np.ascontiguousarray(a / a.sum(axis=0)) for a in A[1:2]]
    B = [columns(generator, n, n, 3 if f == 0 else 2) for f, n in enumerate(states)]
    C = [generator.normal(scale=2.0, size=len(a)) for a in A]
    return model_arrays(A, B, C, A_deps=deps, options=AgentOptions(**stated))


def wide(arrays: ModelArrays) -> Model:
    return Model.quantized(arrays, precision=Precision.uniform(arrays, 16))


def beliefs(model: Model, count: int = 24) -> Population:
    """Return agents after two observations each, drawn at random, and no action."""
    generator = np.random.default_rng(9)
    agents = Population(model, count)
    for _ in range(2):
        agents.infer(np.stack([generator.integers(-1, n, size=count) for n in model.num_obs], axis=-1))
    return agents


@pytest.mark.parametrize("case", CASES)
def test_the_kernel_finds_what_the_reference_finds(case: str) -> None:
    model = wide(agent(case, si_horizon=2, si_max_nodes=300))
    agents = beliefs(model, 4)
    values, posterior = agents.evaluate()
    near, arrays = 0, model.arrays()
    for n in range(agents.size):
        qs = [agents.beliefs(f)[n].astype(np.float64) for f in range(len(model.B))]
        G = reference.expected_free_energy(arrays, qs)
        near += np.allclose(values[n], G, atol=0.02)
        q_pi = reference.policy_posterior(arrays, G)
        gap = np.diff(np.sort(q_pi)[-2:])[0]
        assert gap < 0.05 or posterior[n].argmax() == q_pi.argmax()
    assert near >= agents.size - 1  # a probability may lie at a threshold


def test_it_looks_as_far_as_it_is_told() -> None:
    """Deeper searches value actions otherwise, and an agent can be told to look less far."""
    deep, shallow = (beliefs(wide(agent("several factors", si_horizon=h))) for h in (3, 1))
    assert not np.allclose(deep.policy_posterior, shallow.policy_posterior, atol=0.01)
    deep.plan(horizon=1)
    np.testing.assert_array_equal(deep.policy_posterior, shallow.policy_posterior)
    with pytest.raises(ModelError, match="horizon: 4, expected 1 to 3"):
        deep.plan(horizon=4)


def test_a_level_without_room_is_dropped_whole() -> None:
    """With few nodes an agent decides as one that looks less far, bit for bit."""
    depths = [beliefs(wide(agent("one factor", si_horizon=h))).policy_posterior for h in (1, 2, 3)]
    seen = set()
    for nodes in (10, 40, 90, 160, 300, 5000):
        found = beliefs(wide(agent("one factor", si_max_nodes=nodes))).policy_posterior
        for n, row in enumerate(found):
            equal = [d for d, rows in enumerate(depths) if rows[n].tobytes() == row.tobytes()]
            assert equal or nodes == 10  # not even the first level: the values of single steps
            seen.update(equal)
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("case", CASES)
def test_no_observation_gives_nan(case: str) -> None:
    model = Model.quantized(agent(case, si_observation_prune_threshold=0.0, si_max_nodes=400))
    agents = Population(model, 8)
    generator = np.random.default_rng(4)
    for _ in range(6):
        agents.step(np.stack([generator.integers(0, n, size=8) for n in model.num_obs], axis=-1))
        values, posterior = agents.evaluate()
        assert np.isfinite(values).all()
        assert np.isfinite(posterior).all()


def test_nodes_are_planned_and_what_does_not_fit_is_refused_with_its_bytes() -> None:
    few, many = (Model.quantized(agent("one factor", si_max_nodes=n)) for n in (100, 1100))
    bytes_of = [total(Population.columns(model, 1)) for model in (few, many)]
    assert bytes_of[1] - bytes_of[0] == 1000 * (32 + 4 * 6)
    arena = Arena(bytes_of[0])
    with pytest.raises(BudgetError, match=f"needs {bytes_of[1]} bytes"):
        arena.allocate("population", Population.columns(many, 1))
    big = [np.full((2, 800), 0.5)], [np.eye(800)[:, :, np.newaxis]]
    options = AgentOptions(sophisticated=True, si_max_nodes=100_000)
    with pytest.raises(ModelError, match="si_max_nodes: 100000 nodes of 800 states need 323200000 bytes"):
        model_arrays(*big, options=options)


def test_what_the_search_does_not_have_is_refused() -> None:
    for name in ("use_inductive", "use_param_info_gain"):
        with pytest.raises(ModelError, match=f"{name}: True, expected false with sophisticated"):
            AgentOptions(sophisticated=True, **{name: True})
    for name, value in (("si_horizon", 0), ("si_max_nodes", 10**6), ("si_policy_prune_threshold", 1.5)):
        with pytest.raises(ModelError, match=f"{name}: {value}, expected"):
            AgentOptions(**{name: value})
    with pytest.raises(ModelError, match="si_entropy_stop_threshold: nan, expected a number"):
        AgentOptions(si_entropy_stop_threshold=math.nan)
    one = [np.eye(2)], [np.eye(2)[:, :, np.newaxis].repeat(3, axis=2)]
    for wrong, options, message in (
        ({"policy_len": 2}, {}, "sophisticated: policies of 2 steps, expected 1"),
        ({"E": [0.5, 0.3, 0.2]}, {}, "E: a sophisticated search has no prior"),
        ({}, {"si_max_branching": 2}, "si_max_branching: 2, expected 3"),
        ({}, {"si_max_nodes": 5}, "si_max_nodes: 5, expected at least 6"),
    ):
        with pytest.raises(ModelError, match=message):
            model_arrays(*one, options=AgentOptions(sophisticated=True, **options), **wrong)


def test_a_bundle_keeps_the_search() -> None:
    model = wide(agent("several factors", si_max_nodes=300))
    again = Model(name="again", meta={}, **payload.fields(model.entries()))
    assert again.options == model.options
    assert again.digest == model.digest
    np.testing.assert_array_equal(beliefs(again).policy_posterior, beliefs(model).policy_posterior)


def test_a_checkpoint_goes_on_with_the_same_decisions() -> None:
    model = wide(agent("three modalities"))
    first = beliefs(model)
    second = Population(model, first.size)
    second.restore(first.checkpoint())
    table = np.zeros((first.size, len(model.A)), np.int64)
    np.testing.assert_array_equal(first.step(table), second.step(table))
    with pytest.raises(ConfigError, match="model"):
        Population(wide(agent("three modalities", si_horizon=2)), first.size).restore(first.checkpoint())
