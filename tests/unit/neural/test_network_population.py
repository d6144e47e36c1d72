"""A population of networks has the interface of a population of agents, with each runtime."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.engine import Population
from edge_agent.errors import BundleError, ObservationError
from edge_agent.memory.arena import Arena, total
from edge_agent.neural.inference import infer
from edge_agent.neural.network import NeuralModel
from edge_agent.neural.network_population import MAX_BATCH, NeuralPopulation, draws, sampled
from edge_agent.wire import npz

Load = Callable[..., NeuralModel]
RNG = np.random.default_rng(9)


def observations(*shape: int) -> np.ndarray:
    return (2 * RNG.normal(size=shape)).astype(np.float32)


def test_it_has_the_face_of_an_engine_population() -> None:
    face = {"columns", "step", "infer", "reset", "checkpoint", "restore", "nbytes", "contradictions"}
    assert face <= set(dir(NeuralPopulation))
    assert face - {"nbytes"} <= set(dir(Population))


def test_every_agent_gets_its_own_action_whatever_the_batch(load: Load) -> None:
    model = load("mlp_tanh")
    size = MAX_BATCH + 37
    x = observations(size, 6)
    together = NeuralPopulation(model, size)
    actions = together.step(x)
    assert actions.shape == (size, 1)
    one = NeuralPopulation(model, 1)
    alone = np.concatenate([one.step(x[i : i + 1]) for i in range(0, size, 91)])
    assert np.array_equal(actions[::91], alone)
    assert np.array_equal(actions[:, 0], together.output(0).argmax(axis=1))


def test_a_subset_is_stepped_alone(load: Load) -> None:
    model = load("mlp_tanh")
    x, who = observations(10, 6), np.array([7, 2])
    everyone, some = NeuralPopulation(model, 10), NeuralPopulation(model, 10)
    wanted = everyone.step(x)
    assert np.array_equal(some.step(x[who], who), wanted[who])
    assert np.array_equal(some.output(0)[who], everyone.output(0)[who])
    assert not some.output(0)[[0, 1, 3, 4, 5, 6, 8, 9]].any()


@pytest.mark.parametrize(("name", "axis", "length"), [("mlp_tanh", 0, 3), ("conv1d", 1, 16)])
def test_a_window_shows_the_last_observations_the_oldest_first(
    load: Load, name: str, axis: int, length: int
) -> None:
    windowed, plain = load(name, window=length, window_axis=axis), load(name)
    assert windowed.observation_shape == (2,)
    agents, reference = NeuralPopulation(windowed, 3), NeuralPopulation(plain, 3)
    history = observations(3 * length + 5, 3, 2)
    for t, x in enumerate(history):
        agents.step(x)
        # Before there are enough observations, the first one stands for those that are missing.
        seen = [history[max(t - back, 0)] for back in reversed(range(length))]
        window = np.stack(seen, axis=1)  # [agents, length, 2]
        reference.step(window.reshape(3, -1) if axis == 0 else window.transpose(0, 2, 1))
        assert np.array_equal(agents.output(0), reference.output(0))
    agents.reset([1])
    agents.step(history[0])
    reference.step(
        np.repeat(history[0][:, None], length, 1).reshape(3, -1)
        if axis == 0
        else np.repeat(history[0][:, :, None], length, 2)
    )
    assert np.array_equal(agents.output(0)[1], reference.output(0)[1])
    assert not np.array_equal(agents.output(0)[0], reference.output(0)[0])


def test_nobody_is_stepped_when_nobody_observed(load: Load) -> None:
    population = NeuralPopulation(load("mlp_tanh", window=3), 4)
    assert population.step(np.zeros((0, 2)), np.array([], dtype=int)).shape == (0, 1)
    assert not population.output(0).any()


def test_infer_fills_the_window_without_running_the_network(load: Load) -> None:
    model = load("mlp_tanh", window=3)
    first, second = NeuralPopulation(model, 2), NeuralPopulation(model, 2)
    history = observations(3, 2, 2)
    for x in history[:2]:
        first.step(x)
        second.infer(x)
    assert not second.output(0).any()
    assert np.array_equal(first.step(history[2]), second.step(history[2]))


def test_columns_are_all_it_takes_from_the_arena(load: Load) -> None:
    model = load("policy", window=2)
    columns = NeuralPopulation.columns(model, 100)
    arena = Arena(total(columns))
    population = NeuralPopulation(model, 100, allocate=partial(arena.allocate, "policy"))
    own = NeuralPopulation(model, 100)
    x = observations(100, 3)
    assert np.array_equal(population.step(x), own.step(x))
    assert population.nbytes == arena.used == total(columns)
    assert population.output(1).shape == (100, 1)


def test_checkpoint_goes_on_where_it_was(load: Load) -> None:
    model = load("mlp_tanh", window=3, action="sample")
    first, second = NeuralPopulation(model, 4, seed=5), NeuralPopulation(model, 4, seed=6)
    history = observations(6, 4, 2)
    for x in history[:3]:
        first.step(x)
    second.restore(first.checkpoint())
    for x in history[3:]:
        assert np.array_equal(first.step(x), second.step(x))
    assert second.tick == 6


def test_checkpoint_of_another_size_changes_nothing(load: Load) -> None:
    model = load("mlp_tanh", window=3)
    population, x = NeuralPopulation(model, 4), observations(4, 2)
    population.step(x)
    before = population.checkpoint()
    for wrong in (NeuralPopulation(model, 5).checkpoint(), b"", before[:-30]):
        with pytest.raises(BundleError, match="checkpoint"):
            population.restore(wrong)
    assert population.checkpoint() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", np.full((4, 3, 2), "no")),
        ("window", np.full((4, 3, 2), np.nan, np.float32)),
        ("seen", np.zeros(4)),
        ("tick", np.zeros(2, np.int64)),
    ],
)
def test_a_checkpoint_that_a_network_cannot_go_on_from_changes_nothing(
    load: Load, name: str, value: NDArray[Any]
) -> None:
    population = NeuralPopulation(load("mlp_tanh", window=3), 4)
    population.step(observations(4, 2))
    before = population.checkpoint()
    damaged = npz.parse(before, "it", BundleError) | {name: value}
    with pytest.raises(BundleError, match=f"checkpoint: {name}: found"):
        population.restore(npz.write(damaged))
    assert population.checkpoint() == before


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((3, 6)), r"\(3, 6\), expected \(2, 6\)"),
        (np.array([[0.0] * 6, [0.0] * 5 + [np.nan]]), "agent 1 is not finite"),
        (np.array([[np.inf] * 6, [0.0] * 6]), "agent 0 is not finite"),
    ],
)
def test_bad_observations_step_nobody(load: Load, x: np.ndarray, words: str) -> None:
    population = NeuralPopulation(load("mlp_tanh"), 2)
    with pytest.raises(ObservationError, match=words):
        population.step(x)
    assert population.tick == 0
    assert not population.output(0).any()


def test_samples_have_the_frequencies_of_the_scores() -> None:
    probabilities = np.array([0.5, 0.1, 0.4])
    u = draws(1, 2, np.arange(4000))
    for scores, logits in ((probabilities, False), (np.log(probabilities) + 3, True)):
        picked = sampled(np.tile(scores, (4000, 1)), logits, u)[:, 0]
        np.testing.assert_allclose(np.bincount(picked, minlength=3) / 4000, probabilities, atol=0.03)


def test_an_agents_draws_depend_on_seed_tick_and_agent_alone() -> None:
    everyone = draws(1, 2, np.arange(10))
    assert np.array_equal(draws(1, 2, np.array([7, 3])), everyone[[7, 3]])
    assert len({*everyone.tolist(), *draws(1, 3, np.arange(10)), *draws(2, 2, np.arange(10))}) == 30


def test_draws_are_those_of_numpys_philox() -> None:
    for seed, tick, agent in ((0, 0, 0), (7, 3, 5), (2**63 + 1, 2**40, 2**31 - 1)):
        key = np.array([seed, tick], dtype=np.uint64)
        expected = np.random.Generator(np.random.Philox(key=key, counter=agent)).random()
        assert draws(seed, tick, np.array([agent]))[0] == expected


@pytest.mark.parametrize(
    ("agents", "words"),
    [([0, 3], "agents: 3, expected 0 to 2"), ([-1], "agents: -1"), ([1, 1], "1 stands there twice")],
)
def test_agents_that_are_not_there_are_refused(load: Load, agents: list[int], words: str) -> None:
    population = NeuralPopulation(load("mlp_tanh"), 3)
    with pytest.raises(ObservationError, match=words):
        population.step(observations(len(agents), 6), agents)
    assert population.tick == 0


def test_whatever_numpy_takes_for_numbers_is_an_observation(load: Load) -> None:
    population = NeuralPopulation(load("mlp_tanh"), 2)
    x = np.round(observations(2, 6))
    wanted = population.step(x)
    scores = population.output(0).copy()
    for same in (x.astype(np.float64), x.astype(np.int8), x.tolist(), np.asfortranarray(x), x[::-1][::-1]):
        assert np.array_equal(population.step(same), wanted)
        assert np.array_equal(population.output(0), scores)
    for nothing in ([["a"] * 6] * 2, [[1.0], [1.0, 2.0]], None):
        with pytest.raises(ObservationError, match="mlp_tanh: observations are"):
            population.step(nothing)


def test_actions_belong_to_the_caller(load: Load) -> None:
    population = NeuralPopulation(load("mlp_tanh"), 40)
    first = population.step(observations(40, 6))
    kept = first.copy()
    assert not np.array_equal(population.step(observations(40, 6)), kept)
    assert np.array_equal(first, kept)


def test_value_is_the_output_itself(load: Load) -> None:
    population = NeuralPopulation(load("mlp_tanh", action="value"), 3)
    actions = population.step(observations(3, 6))
    assert actions.dtype == np.float32
    assert np.array_equal(actions, population.output(0))


def test_infer_over_a_recording_keeps_or_drops_the_agents_axis(load: Load) -> None:
    model = load("policy")
    x = observations(5, 3, 6)
    both = infer(model, x)
    one = infer(model, x[:, 1])
    assert {name: array.shape for name, array in both.items()} == {
        "y_0": (5, 3, 4),
        "y_1": (5, 3, 1),
        "act": (5, 3, 1),
    }
    for name, array in one.items():
        assert np.array_equal(array, both[name][:, 1])
    copies = infer(model, x[:, 1], agents=2)
    assert np.array_equal(copies["y_0"], np.repeat(one["y_0"][:, None], 2, axis=1))
    with pytest.raises(ObservationError, match="of 3 agents, expected 4"):
        infer(model, x, agents=4)
    with pytest.raises(ObservationError, match=r"expected float \[T, 6\] or \[T, N, 6\]"):
        infer(model, x[..., :5])


def test_infer_forgets_the_windows_at_a_restart(load: Load) -> None:
    model, x = load("mlp_tanh", window=3), observations(7, 2)
    both = infer(model, x, restarts={4})["y_0"]
    assert np.array_equal(both, np.concatenate([infer(model, part)["y_0"] for part in (x[:4], x[4:])]))
    assert not np.array_equal(both, infer(model, x)["y_0"])


def test_both_runtimes_give_the_same_within_their_rounding(bundle_file: Callable[..., Path]) -> None:
    x = observations(50, 6)
    results = [
        infer(NeuralModel.load(bundle_file("policy", target)), x) for target in ("litert", "onnxruntime")
    ]
    assert (results[0]["act"] == results[1]["act"]).mean() >= 0.97
