"""Inference over a window of ticks: the kernel beside the reference, ticks, state, and what is refused.

That both decide as pymdp's agents do is what ``make parity`` and ``tests/golden/agents`` measure, on live
agents (``inference_algo_mmp`` ...), and ``test_spm_messages`` compares the messages with SPM's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_agent.engine import reference
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.inference_window import InferenceWindow
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.engine.precision import Precision
from edge_agent.errors import ConfigError, ModelError
from edge_agent.memory.arena import total

CASES = ("one factor", "sparse", "sparse around a background", "several factors", "shared parents")
TICKS = 9


def columns(generator: np.random.Generator, rows: int, *shape: int) -> Any:
    return np.moveaxis(generator.dirichlet(np.full(rows, 0.3), size=shape), -1, 0)


def agent(case: str, algorithm: str = "mmp", horizon: int = 4, **options: Any) -> ModelArrays:
    """Return a random model; each case takes another part of the kernel."""
    generator = np.random.default_rng(CASES.index(case))
    stated = {"inference_algo": algorithm, "inference_horizon": horizon, "num_iter": 6} | options
    if case in CASES[:3]:
        A, B = [columns(generator, 5, 12)], [columns(generator, 12, 12, 3)]
        if case != "one factor":
            lost = 0.0 if case == "sparse" else 0.03
            moves = np.stack([np.roll(np.eye(12), step, axis=0) for step in (0, 1, 4)], axis=-1)
            B = [(1.0 - 12 * lost) * moves + lost]
        deps, B_deps = [[0]], [[0]]
    else:
        A = [columns(generator, 5, 4, 3), columns(generator, 3, 3), columns(generator, 4, 4, 3, 2)]
        deps, B_deps = [[0, 1], [1], [0, 1, 2]], [[0], [1], [2]]
        B = [columns(generator, n, n, u) for n, u in ((4, 3), (3, 2), (2, 1))]
        if case == "shared parents":
            B_deps = [[0, 2], [0, 1], [2]]
            B = [columns(generator, 4, 4, 2, 3), columns(generator, 3, 4, 3, 2), B[2]]
    C = [generator.normal(size=len(a)) for a in A]
    return model_arrays(A, B, C, A_deps=deps, B_deps=B_deps, options=AgentOptions(**stated))


def wide(arrays: ModelArrays) -> Model:
    return Model.quantized(arrays, precision=Precision.uniform(arrays, 16))


def observed(arrays: ModelArrays, agents: int, ticks: int = TICKS) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(8)
    return np.stack([generator.integers(-1, n, (ticks, agents)) for n in arrays.num_obs], axis=-1)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("algorithm", "horizon"), [("mmp", 1), ("mmp", 4), ("vmp", 4), ("vmp", 20)])
def test_the_kernel_infers_as_the_reference(case: str, algorithm: str, horizon: int) -> None:
    arrays = agent(case, algorithm, horizon)
    model, size = wide(arrays), 5
    population, exact = Population(model, size), model.arrays()
    windows = [InferenceWindow(exact) for _ in range(size)]
    generator = np.random.default_rng(1)
    for t, outcomes in enumerate(observed(arrays, size)):
        population.step(outcomes)
        for n, window in enumerate(windows):
            qs, F = window.infer(outcomes[n].tolist())
            for f, q in enumerate(qs):
                np.testing.assert_allclose(population.beliefs(f, [n])[0], q, atol=2e-3)
            assert population.free_energy[n] == pytest.approx(F, abs=2e-2, rel=1e-2)
        done = np.stack([generator.integers(0, n, size) for n in arrays.num_controls], axis=-1)
        if t == 5:
            done[2] = -1  # of one agent no action is known: its later ticks begin anew
        population.act(done)
        for window, action in zip(windows, done.tolist(), strict=True):
            window.act(None if action[0] < 0 else action)


def test_a_later_outcome_changes_what_is_believed_about_a_tick_before() -> None:
    """Two places of which one is seen, and no way between them: what was seen once stays known."""
    A, B = [np.array([[1.0, 0.5], [0.0, 0.5]])], [np.eye(2)[:, :, np.newaxis]]
    for algorithm in ("mmp", "vmp"):
        options = AgentOptions(inference_algo=algorithm, inference_horizon=3)
        window = InferenceWindow(model_arrays(A, B, options=options))
        for outcome in (0, 1, 0):
            (q,), _ = window.infer([outcome])
            window.act([0])
        assert q[1] > 0.99


def test_a_window_of_one_tick_begins_from_D_each_time() -> None:
    arrays = agent("several factors", horizon=1)
    population = Population(wide(arrays), 1)
    filtered = replace(arrays, options=replace(arrays.options, inference_algo="fpi"))
    for outcomes in observed(arrays, 1, 4):
        population.step(outcomes)
        for f, q in enumerate(reference.infer(filtered, filtered.D, outcomes[0].tolist())[0]):
            np.testing.assert_allclose(population.beliefs(f)[0], q, atol=1e-3)


@pytest.mark.parametrize("algorithm", ["mmp", "vmp"])
def test_what_is_decided_within_a_tick_leaves_no_trace_in_the_window(algorithm: str) -> None:
    arrays = agent("shared parents", algorithm, 3)
    model = Model.quantized(arrays)
    within, once = Population(model, 7, redecides=True), Population(model, 7)
    rows = observed(arrays, 7, 6)
    for t, outcomes in enumerate(rows):
        within.decide(rows[t - 1], [3, 5, 1, 0, 2, 4, 6])
        within.decide(rows[t - 2][:2], [6, 1])
        decided = within.decide(outcomes)
        assert (within.step(outcomes) == decided).all()
        assert (once.step(outcomes) == decided).all()
        assert within.checkpoint() == once.checkpoint()


def test_a_window_is_restored_bit_for_bit() -> None:
    arrays = agent("several factors")
    rows = observed(arrays, 20, 12)
    first, second = Population(Model.quantized(arrays), 20), Population(Model.quantized(arrays), 20)
    for outcomes in rows[:7]:
        first.step(outcomes)
    second.restore(first.checkpoint())
    first.reset([4])
    second.reset([4])
    for outcomes in rows[7:]:
        assert (first.step(outcomes) == second.step(outcomes)).all()
    assert first.checkpoint() == second.checkpoint()


def test_agents_are_reset_one_by_one() -> None:
    arrays = agent("one factor")
    rows = observed(arrays, 3, 8)
    population, fresh = Population(Model.quantized(arrays), 3), Population(Model.quantized(arrays), 1)
    for outcomes in rows[:5]:
        population.step(outcomes)
    population.reset([1])
    for outcomes in rows[5:]:
        population.step(outcomes)
        fresh.step(outcomes[1:2])
    assert (population.codes([1])[:, : 2 * 12] == fresh.codes()[:, : 2 * 12]).all()
    assert population.beliefs(0, [1]).tobytes() == fresh.beliefs(0).tobytes()


def test_the_same_is_inferred_again_from_a_state_before() -> None:
    arrays = agent("several factors", horizon=3)
    rows = observed(arrays, 4, 7)
    population = Population(Model.quantized(arrays), 4)
    for outcomes in rows[:3]:
        population.step(outcomes)
    start, before = population.codes(), []
    for outcomes in rows[3:]:
        before.append(population.state[1][0].T[:4].astype(np.int64))
        population.step(outcomes)
    wanted = population.codes()
    population.rerun(rows[3:], np.stack(before), start=start)
    assert (population.codes() == wanted).all()


def test_memory_of_a_window_is_planned() -> None:
    arrays = agent("several factors", horizon=6)
    model = Model.quantized(arrays)
    filtered = replace(model, options=replace(model.options, inference_algo="fpi"))
    columns = {c.name: c for c in Population.columns(model, 64)}
    states, factors, modalities = 9, 3, 3
    assert columns["belief"].shape[1] == 2 * states + 2 + 6 * (factors + 2 * modalities)
    assert Population(model, 64).nbytes == total(Population.columns(model, 64))
    assert total(Population.columns(model, 64)) > total(Population.columns(filtered, 64))


def test_a_window_that_needs_too_much_memory_is_refused_with_the_bytes_it_needs() -> None:
    A, B = [np.full((2, 700), 0.5)], [np.full((700, 700, 1), 1 / 700)]
    options = AgentOptions(inference_algo="vmp", inference_horizon=128)
    words = "inference_horizon: 128 ticks of 1400 states need 91750400 bytes, at most 67108864"
    assert model_arrays(A, B, options=options).options == options
    large = [np.full((2, 1400), 0.5)], [np.full((1400, 1400, 1), 1 / 1400)]
    with pytest.raises(ModelError, match=words):
        model_arrays(*large, options=options)


def test_what_a_window_does_not_keep_is_refused() -> None:
    arrays = agent("one factor")
    population = Population(Model.quantized(arrays), 1)
    soft = {0: np.full((1, 5), 0.2)}
    with pytest.raises(
        ConfigError, match="inference_algo 'mmp': found distributions over outcomes, expected"
    ):
        population.step_with([[0]], soft=soft)
    with pytest.raises(ConfigError, match="inference_algo 'mmp': found evidence from outside, expected"):
        population.step_with([[0]], evidence={0: np.full((1, 12), 9, np.uint8)})
    with pytest.raises(ConfigError, match="inference_algo 'mmp': found beliefs from outside, expected"):
        population.set_beliefs(0, np.full((1, 12), 1 / 12))


def test_a_checkpoint_whose_window_is_damaged_is_refused_or_does_no_harm() -> None:
    from edge_agent.engine import payload, snapshot

    arrays = agent("several factors", horizon=2)
    model = Model.quantized(arrays)
    population, digest, states = Population(model, 1, seed=3), payload.digest(model), 9
    for outcomes in observed(arrays, 1, 4):
        population.step(outcomes)
    action = population.state[1][0, :, :1].T.copy()

    def restore(codes: np.ndarray[Any, Any]) -> None:
        population.restore(snapshot.pack(digest, 3, 4, 0, codes, action, np.zeros(1, np.float32)))

    codes = population.codes()
    codes[:, states : 2 * states] = 0
    with pytest.raises(ConfigError, match="checkpoint: a belief in no state at all"):
        restore(codes)
    codes[:, states:] = 255  # neither outcomes nor actions of the model, and more ticks than it has
    restore(codes)
    population.step(observed(arrays, 1, 1)[0])
    assert np.isfinite(population.evaluate()[0]).all()


def test_an_outcome_without_a_chance_is_a_contradiction() -> None:
    A = [np.eye(4) * (1 - 4e-12) + 1e-12]
    B = [np.eye(4)[:, :, np.newaxis]]
    options = AgentOptions(inference_algo="mmp", inference_horizon=3)
    arrays = model_arrays(A, B, options=options)
    population, window = Population(wide(arrays), 1), InferenceWindow(wide(arrays).arrays())
    for outcome, odd in ((1, False), (1, False), (3, True)):
        before = population.contradictions
        population.step([[outcome]])
        assert (population.contradictions - before, window.step([outcome]).contradiction) == (odd, odd)
        window.act([0])
