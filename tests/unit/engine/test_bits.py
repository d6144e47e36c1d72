"""The same bits from every instruction set, thread count and batch size."""

import os
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.factored import arrays_of
from edge_agent.engine import isa
from edge_agent.engine.arrays import model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.engine.precision import Precision
from edge_agent.errors import ConfigError
from tests.unit.engine.conftest import golden

AGENTS = 1000
TICKS = 6


def run(model: Model, observations, agents: Sequence[int], **options) -> tuple[bytes, ...]:
    """Steps ``agents`` as a population of their own; everything a step gives, agent by agent."""
    population = Population(model, len(agents), **options)
    actions = [population.step(tick[agents]) for tick in observations]
    results = (population.codes(), np.stack(actions, 1), population.free_energy, *population.evaluate())
    return tuple(np.ascontiguousarray(r) for r in results)


def observations_of(model: Model):
    generator = np.random.default_rng(5)
    out = np.stack([generator.integers(-1, n, size=(TICKS, AGENTS)) for n in model.num_obs], axis=-1)
    return out.astype(np.int64)


OPTIONAL = {
    "sixteen bits": ({}, 16),
    "terms": ({"use_param_info_gain": True, "use_inductive": True, "inductive_depth": 2}, 8),
    "drawn": ({"action_selection": "stochastic", "alpha": 2.0, "sampling_mode": "full"}, 8),
    "drawn marginals": ({"action_selection": "stochastic", "alpha": 2.0, "sampling_mode": "marginal"}, 8),
    "exact": ({"inference_algo": "exact"}, 8),
    "exact, reset": ({"inference_algo": "exact", "on_contradiction": "reset"}, 16),
    "sophisticated": (
        {"sophisticated": True, "gamma": 2.0, "si_max_nodes": 200, "si_observation_prune_threshold": 0.02},
        8,
    ),
    "window": ({"inference_algo": "mmp", "inference_horizon": 4, "num_iter": 5}, 8),
    "variational window": ({"inference_algo": "vmp", "inference_horizon": 3, "num_iter": 5}, 16),
    "reset": ({"on_contradiction": "reset", "num_iter": 3}, 16),
}


def optional(name: str) -> Model:
    """Return a dense model of two factors with the options of ``name``, or of one for resets."""
    stated, bits = OPTIONAL[name]
    generator = np.random.default_rng(2)
    A = [generator.dirichlet(np.full(7, 0.1), size=(6, 5)).transpose(2, 0, 1), np.eye(6)]
    B = [
        generator.dirichlet(np.full(6, 0.1), size=(6, 3)).transpose(2, 0, 1),
        generator.dirichlet(np.full(5, 0.1), size=(5, 2)).transpose(2, 0, 1),
    ]
    arrays = model_arrays(
        A,
        B,
        [generator.normal(size=7), np.zeros(6)],
        A_deps=[[0, 1], [0]],
        policy_len=1 if stated.get("sophisticated") else 2,
        options=AgentOptions(**stated),
        pA=A,
        pB=B,
        H=[np.eye(6)[3], np.eye(5)[1]],
    )
    return Model.quantized(arrays, precision=Precision.uniform(arrays, bits))


DECIDED = ["s1_grid5_T1", "s3_tmaze_T2", "s4_grid10x4_T1", "dense", "many factors"]
DECIDED += [name for name, (stated, _) in OPTIONAL.items() if stated.get("action_selection") != "stochastic"]
DRAWN = [name for name in OPTIONAL if name not in DECIDED]


@pytest.fixture(scope="module", params=[*DECIDED, *DRAWN])
def expected(request):
    if request.param == "dense":
        generator = np.random.default_rng(1)
        A = [generator.dirichlet(np.ones(7), size=(6, 5)).transpose(2, 0, 1)]
        B = [
            generator.dirichlet(np.ones(6), size=(6, 3)).transpose(2, 0, 1),
            generator.dirichlet(np.ones(5), size=(6, 5, 2)).transpose(3, 0, 1, 2),
        ]
        model = Model.from_arrays(A, B, [generator.normal(size=7)], B_deps=[[0], [0, 1]], policy_len=2)
    elif request.param == "many factors":
        model = Model.quantized(arrays_of("factors_6x12"))
    elif request.param in OPTIONAL:
        model = optional(request.param)
    else:
        model = Model.quantized(golden(request.param).arrays)
    observations = observations_of(model)
    os.environ[isa.VARIABLE] = isa.available()[0].name
    try:
        return model, observations, run(model, observations, range(AGENTS))
    finally:
        del os.environ[isa.VARIABLE]


def same(found, expected, agents) -> None:
    for f, e in zip(found, expected, strict=True):
        assert f.tobytes() == np.ascontiguousarray(e[list(agents)]).tobytes()


@pytest.mark.parametrize("name", [i.name for i in isa.available()])
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_instruction_sets_and_threads(expected, monkeypatch, name: str, threads: int) -> None:
    model, observations, results = expected
    monkeypatch.setenv(isa.VARIABLE, name)
    same(run(model, observations, range(AGENTS), threads=threads), results, range(AGENTS))


@pytest.mark.parametrize("name", [i.name for i in isa.available()])
@pytest.mark.parametrize("size", [1, 2, 4, 5, 16, 17, 63, 64, 65, 100, 129, 999])
def test_batch_sizes(expected, monkeypatch, name: str, size: int) -> None:
    model, observations, results = expected
    monkeypatch.setenv(isa.VARIABLE, name)
    agents = np.random.default_rng(size).permutation(AGENTS)[:size]
    if model.options.action_selection == "stochastic":  # draws are keyed by the agent's number
        agents = np.arange(size)
    same(run(model, observations, agents), results, agents)


@pytest.mark.parametrize("expected", DECIDED, indirect=True)  # draws are keyed by the call of step
@pytest.mark.parametrize("name", [i.name for i in isa.available()])
def test_subsets_of_a_population(expected, monkeypatch, name: str) -> None:
    model, observations, results = expected
    monkeypatch.setenv(isa.VARIABLE, name)
    population = Population(model, AGENTS)
    parts = np.split(np.random.default_rng(0).permutation(AGENTS), [3, 20, 90, 400])
    for tick in observations:
        for part in parts:
            population.step(tick[part], part)
    assert (population.codes() == results[0]).all()
    assert (population.free_energy == results[2]).all()


def test_unknown_instruction_set_is_an_error(monkeypatch, load_golden) -> None:
    model = Model.quantized(load_golden("s1_grid5_T1").arrays)
    monkeypatch.setenv(isa.VARIABLE, "mmx")
    with pytest.raises(ConfigError, match="EDGE_AGENT_ISA: mmx is unknown"):
        Population(model, 1)
