"""A recording is replayed bit for bit; one changed action is found; a decision can be explained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent import Model, Population
from edge_agent.engine import reference
from edge_agent.engine.arrays import model_arrays
from edge_agent.engine.options import AgentOptions
from edge_agent.errors import ConfigError
from edge_agent.runtime.recording.explain import explain
from edge_agent.runtime.recording.replay import Moment, replay

TICKS, AGENTS = 20, 5


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Model:
    """Return a model whose agents score policies; by the parameter over a window, or they search."""
    rng = np.random.default_rng(3)
    likelihood = rng.dirichlet(np.ones(4), size=3).T
    transition = rng.dirichlet(np.ones(3), size=(3, 2)).transpose(2, 0, 1)
    meta = {"factors": [{"name": "air", "states": ["good", "fair", "bad"]}]}
    preferred = [rng.normal(size=4)]
    if getattr(request, "param", "policies") == "policies":
        return Model.from_arrays([likelihood], [transition], preferred, policy_len=2, meta=meta)
    if request.param == "window":
        options = AgentOptions(inference_algo="mmp", inference_horizon=4)
        return Model.from_arrays([likelihood], [transition], preferred, options=options, meta=meta)
    searched = AgentOptions(sophisticated=True, gamma=1.0, si_horizon=3, si_entropy_stop_threshold=0.0)
    return Model.quantized(model_arrays([likelihood], [transition], preferred, options=searched), meta=meta)


@pytest.fixture
def recording(model: Model) -> list[dict[str, Any]]:
    """Record as the daemon does: subsets, two threads, shorter plans half way, agents held safe at times."""
    population = Population(model, AGENTS, seed=4, threads=2)
    rng = np.random.default_rng(5)
    population.step(rng.integers(-1, 4, (AGENTS, 1)))
    entries: list[dict[str, Any]] = [
        {
            "kind": "begin",
            "population": "p",
            "digest": "d",
            "bundle": "b.eab",
            "size": AGENTS,
            "seed": 4,
            "horizon": None,
            "names": "a-{index}",
            "beliefs": population.checkpoint(),
        }
    ]
    for tick in range(TICKS):
        if tick == TICKS // 2:
            population.plan(horizon=1)
            entries.append({"kind": "plan", "population": "p", "horizon": 1})
        agents = np.flatnonzero(rng.random(AGENTS) < 0.6) if tick % 3 else np.arange(AGENTS)
        observed = rng.integers(-1, 4, (len(agents), 1)).astype("<i2")
        actions = population.step(observed, agents).astype("<i2")
        everyone = len(agents) == AGENTS
        entries.append(
            {
                "kind": "step",
                "population": "p",
                "tick": tick,
                "agents": b"" if everyone else agents.astype("<i4").tobytes(),
                "observed": observed.tobytes(),
                "actions": actions.tobytes(),
                "shape": [len(agents), 1, 1],
            }
        )
        if tick % 4 == 0:
            held, executed = np.array([1, 3]), np.array([[1], [-1]])
            population.act(executed, held)
            told = {"held": held.astype("<i4").tobytes(), "executed": executed.astype("<i2").tobytes()}
            if tick % 8:
                entries[-1] |= told
            else:
                entries.append({"kind": "act", "population": "p"} | told)
    return entries


@pytest.mark.parametrize("model", ["policies", "search", "window"], indirect=True)
def test_every_decision_comes_out_again(model: Model, recording: list[dict[str, Any]]) -> None:
    found = replay(recording, lambda path, digest: model)
    assert found.difference is None
    assert found.steps == TICKS
    assert found.populations == {"p": AGENTS}


def test_one_changed_decision_is_found(model: Model, recording: list[dict[str, Any]]) -> None:
    actions = np.frombuffer(recording[4]["actions"], "<i2").copy()
    actions[1] = 1 - actions[1]
    recording[4]["actions"] = actions.tobytes()
    difference = replay(recording, lambda path, digest: model).difference
    assert difference is not None
    agents = np.frombuffer(recording[4]["agents"], "<i4")
    expected = int(agents[1]) if agents.size else 1
    assert (difference.tick, difference.agent) == (recording[4]["tick"], expected)
    assert difference.recorded == [int(actions[1])]


def test_what_was_done_instead_belongs_to_the_recording(
    model: Model, recording: list[dict[str, Any]]
) -> None:
    beliefs = []
    chosen = [
        {key: value for key, value in entry.items() if key != "held"}
        for entry in recording
        if entry["kind"] != "act"
    ]
    for entries in (recording, chosen):

        def watch(name: str, tick: int, moment: Moment) -> bool:
            if tick == TICKS - 1:
                beliefs.append(moment.population.codes())
            return False

        replay(entries, lambda path, digest: model, watch)
    assert len(beliefs) == 1 or (beliefs[0] != beliefs[1]).any()


def test_steps_without_a_beginning_are_refused(model: Model, recording: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match="before it begins"):
        replay(recording[1:], lambda path, digest: model)


def test_an_explanation_is_the_reference_s_arithmetic(
    model: Model, recording: list[dict[str, Any]], tmp_path: Path
) -> None:
    seen = []

    def watch(name: str, tick: int, moment: Moment) -> bool:
        if tick == 3:
            seen.append(explain(moment, 2))
            G = reference.expected_free_energy(
                model.arrays(), [moment.population.beliefs(0)[2].astype(np.float64)]
            )
            by_policy = sorted(seen[0].options, key=lambda option: option.policy)
            assert np.allclose([o.utility + o.information_gain for o in by_policy], G)
            assert np.allclose(G, moment.population.expected_free_energy[2], atol=1e-3)
        return tick == 3

    replay(recording, lambda path, digest: model, watch)
    (found,) = seen
    assert found.agent == "a-2"
    assert all(option.information_gain >= -1e-9 for option in found.options)
    assert abs(sum(option.posterior for option in found.options) - 1) < 1e-3
    assert set(dict(found.beliefs["air"])) == {"good", "fair", "bad"}
    assert found.options[0].posterior == max(option.posterior for option in found.options)


def test_a_step_that_names_who_was_held_must_say_what_they_did(
    recording: list[dict[str, Any]], model: Model
) -> None:
    step = next(entry for entry in recording if entry["kind"] == "step")
    step["held"] = np.zeros(1, "<i4").tobytes()
    with pytest.raises(ConfigError, match="executed has 0 bytes, expected 2"):
        replay(recording, lambda _path, _digest: model)


@pytest.mark.parametrize("model", ["search"], indirect=True)
def test_of_a_search_the_next_step_is_explained(model: Model, recording: list[dict[str, Any]]) -> None:
    """Utility and information gain are those of one step; the posterior is what the whole search found."""
    seen = []

    def watch(name: str, tick: int, moment: Moment) -> bool:
        if tick == 3:
            by_policy = sorted(explain(moment, 2).options, key=lambda option: option.policy)
            q = moment.population.beliefs(0)[2].astype(np.float64)
            for option, transition in zip(by_policy, np.moveaxis(model.arrays().B[0], -1, 0), strict=True):
                predicted = model.arrays().A[0] @ transition @ q
                assert option.utility == pytest.approx(float(predicted @ model.arrays().C[0]), abs=1e-6)
                assert option.information_gain >= -1e-9
            found = [option.posterior for option in by_policy]
            np.testing.assert_allclose(found, moment.population.policy_posterior[2])
            seen.append(tick)
        return tick == 3

    replay(recording, lambda path, digest: model, watch)
    assert seen == [3]


@pytest.mark.parametrize("model", ["window"], indirect=True)
def test_an_explanation_says_over_how_many_ticks_was_inferred(
    model: Model, recording: list[dict[str, Any]]
) -> None:
    ticks: dict[int, int | None] = {}

    def watch(name: str, tick: int, moment: Moment) -> bool:
        if 2 in moment.agents:
            ticks[tick] = explain(moment, 2).window
        return False

    replay(recording, lambda path, digest: model, watch)
    assert ticks[0] == 2  # one tick before the recording
    assert max(tick for tick in ticks.values() if tick) == 4
