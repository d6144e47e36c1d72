"""Discrete agents: from a pymdp .npz to a bundle whose figures hold, or a refusal."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.engine import Model, Population, reference
from edge_agent.engine.arrays import model_arrays
from edge_agent.engine.options import AgentOptions
from edge_agent.wire import bundle
from edge_convert.measure import agent_fidelity
from edge_convert.measure.oracle import Oracle
from edge_convert.readers import pymdp_npz, samples

GOLDEN = Path(__file__).parents[2] / "golden"
MODELS = sorted(path.stem for path in (GOLDEN / "models").glob("*.npz"))


def test_converted_agent_loads_and_its_manifest_has_the_figures(
    command: Any, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "light.eab"
    status, result, _ = command("convert", source, "-o", out)
    assert status == 0
    loaded = bundle.read(out)
    assert loaded.digest == result["digest"]
    assert loaded.manifest["evaluation"] == result["evaluation"]
    assert "simulated from the model itself" in result["evaluation"]["data"]
    model = Model.load(out)
    # The sensor says dark and light is preferred: the agent switches on, as one works out by hand.
    assert Population(model, 1).step(np.array([[0]])).tolist() == [[1]]


def test_same_input_same_bytes(command: Any, source: Path, tmp_path: Path) -> None:
    bundles = [tmp_path / "1.eab", tmp_path / "2.eab"]
    for out in bundles:
        assert command("convert", source, "-o", out)[0] == 0
    assert bundles[0].read_bytes() == bundles[1].read_bytes()


def test_created_is_the_sources_time_or_the_epoch_that_is_set(
    command: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "light.eab"
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    os.utime(source, (1e9, 1e9))
    command("convert", source, "-o", out)
    assert bundle.read(out).manifest["created"] == 1_000_000_000
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234")
    command("convert", source, "-o", out)
    assert bundle.read(out).manifest["created"] == 1234
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    status, _, error = command("convert", source, "-o", out)
    assert (status, "SOURCE_DATE_EPOCH" in error) == (2, True)


@pytest.mark.parametrize("name", MODELS)
def test_oracle_is_the_reference(name: str) -> None:
    arrays = pymdp_npz.read(GOLDEN / "models" / f"{name}.npz").arrays
    with np.load(GOLDEN / "traces" / f"{name}.npz") as trace:
        qs = [trace[f"ref_qs_{f}"][3] for f in range(len(arrays.B))]
        expected = trace["ref_G"][3]
    G = Oracle(arrays).expected_free_energy([q[None].astype(float) for q in qs])[0]
    np.testing.assert_allclose(G, expected, atol=2e-5)  # pymdp's own
    if len(arrays.policies) < 100:
        np.testing.assert_allclose(G, reference.expected_free_energy(arrays, qs), rtol=1e-12)


@pytest.mark.parametrize("sharpness", [0.5, 1e-3], ids=["usual", "nearly contradicting"])
def test_exact_inference_of_many_agents_is_the_joint_tables_of_each(sharpness: float) -> None:
    rng = np.random.default_rng(3)
    states, deps = (3, 4, 2), ((0, 1), (1, 2), (0,), (0, 1, 2))

    def columns(rows: int, *rest: int) -> Any:
        return np.moveaxis(rng.dirichlet(np.full(rows, sharpness), size=rest) + 1e-9, -1, 0) / (
            1 + rows * 1e-9
        )

    A = [columns(5, *(states[d] for d in parents)) for parents in deps]
    B = [columns(n, n, 2) for n in states]
    options = AgentOptions(inference_algo="exact")
    arrays = model_arrays(A, B, A_deps=deps, options=options)
    outcomes = rng.integers(-1, 5, size=(6, len(deps)))
    found = Oracle(arrays, 6).infer(outcomes)
    for n, observation in enumerate(outcomes.tolist()):
        joint = np.full(states, 1.0)
        for a, outcome, parents in zip(A, observation, deps, strict=True):
            if outcome >= 0:
                joint = joint * a[outcome].reshape([states[f] if f in parents else 1 for f in range(3)])
        for f, q in enumerate(found):
            others = tuple(g for g in range(3) if g != f)
            np.testing.assert_allclose(q[n], joint.sum(axis=others) / joint.sum(), atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_golden_models_stay_near_their_source_on_pymdps_own_traces(name: str) -> None:
    source = pymdp_npz.read(GOLDEN / "models" / f"{name}.npz")
    marginal = replace(source.arrays.options, sampling_mode="marginal")  # as the traces' agents chose
    source = replace(source, arrays=replace(source.arrays, options=marginal))
    with np.load(GOLDEN / "traces" / f"{name}.npz") as trace:
        recording = samples.Trace(trace["obs"][:10, None], trace["act"][:10, None])
        expected = trace["ref_act"][:10]
    fidelity = agent_fidelity.measure(source, source.model("m"), recording, "trace", 0)
    assert fidelity.figures()["max_posterior_kl"] <= 1e-3
    assert fidelity.figures()["action_agreement"] == 1.0
    assert np.array_equal(fidelity.reference.wanted[:, 0], expected)


def test_a_recording_of_several_runs_begins_each_from_d(command: Any, tmp_path: Path) -> None:
    path, recording = GOLDEN / "models" / "s3_tmaze_T2.npz", tmp_path / "runs.npz"
    with np.load(GOLDEN / "traces" / "s3_tmaze_T2.npz") as trace:  # pymdp's agent began anew every ten steps
        obs, act, expected = trace["obs"][:60], trace["act"][:60], trace["ref_act"][:60]
    np.savez(recording, obs=obs, act=act, restarts=np.arange(10, 60, 10))
    status, result, _ = command("convert", path, "-o", tmp_path / "o.eab", "--evaluate", recording)
    assert status == 0
    assert result["evaluation"]["max_posterior_kl"] <= 1e-3
    modalities = bundle.read(tmp_path / "o.eab").manifest["io"]["modalities"]
    assert [entry["seen"] for entry in modalities] == [
        np.bincount(obs[:, m], minlength=entry_size).tolist()
        for m, entry_size in enumerate(pymdp_npz.read(path).arrays.num_obs)
    ]
    source = pymdp_npz.read(path)
    runs = samples.trace(recording, source.model("m").num_obs, source.model("m").num_controls)
    fidelity = agent_fidelity.measure(source, source.model("m"), runs, "runs", 0)
    assert np.array_equal(fidelity.reference.wanted[:, 0], expected)
    assert fidelity.history.restarts == {10, 20, 30, 40, 50}


@pytest.mark.parametrize(
    ("restarts", "words"),
    [
        (np.array([4]), "restarts: found tick 4, expected 0 to 3"),
        (np.array([-1]), "restarts: found tick -1"),
        (np.array([0.5]), r"restarts is float64 \(1,\), expected integers"),
        (np.array([[1]]), r"restarts is int64 \(1, 1\), expected integers"),
    ],
)
def test_restarts_that_are_no_ticks_are_refused(
    command: Any, source: Path, tmp_path: Path, restarts: Any, words: str
) -> None:
    recording = tmp_path / "trace.npz"
    np.savez(recording, obs=np.array([[0], [1], [-1], [0]]), restarts=restarts)
    status, _, error = command("convert", source, "-o", tmp_path / "o.eab", "--evaluate", recording)
    assert status == 2
    assert re.search(words, error)


def test_recording_is_used_as_executed(command: Any, source: Path, tmp_path: Path) -> None:
    recording = tmp_path / "trace.npz"
    np.savez(recording, obs=np.array([[0], [1], [-1], [0]]), act=np.array([[1], [1], [0], [0]]))
    status, result, _ = command("convert", source, "-o", tmp_path / "o.eab", "--evaluate", recording)
    assert status == 0
    assert result["evaluation"]["decisions"] == 4
    assert result["evaluation"]["data"] == "trace.npz"
    assert "return" not in result["evaluation"]


def test_gate_refuses_without_a_file_and_names_three_causes(
    command: Any, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "light.eab"
    status, _, error = command("convert", source, "-o", out, "--max-kl", "0")
    assert status == 1
    assert not out.exists()
    assert "--max-kl asks for" in error
    assert len(error.split("Worst causes: ")[1].split("; ")) == 3


def test_refused_conversion_leaves_the_old_bundle(command: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "light.eab"
    command("convert", source, "-o", out)
    old = out.read_bytes()
    assert command("convert", source, "-o", out, "--max-kl", "0")[0] == 1
    assert out.read_bytes() == old


def test_inspect_shows_what_is_stored(command: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "light.eab"
    command("convert", source, "-o", out)
    status, result, _ = command("inspect", out, "--agents", "10")
    assert status == 0
    assert [row["tensor"] for row in result["tensors"]] == ["A_0", "B_0"]
    assert result["tensors"][0]["palette"] == 4
    assert result["states"] == [2]
    assert result["population_bytes"]["10 agents"] > 0


def test_evaluate_compares_with_the_source_alone(
    command: Any, source: Path, tmp_path: Path, light: dict[str, Any]
) -> None:
    out, other = tmp_path / "light.eab", tmp_path / "other.npz"
    command("convert", source, "-o", out)
    status, result, _ = command("evaluate", out, source)
    assert status == 0
    assert result["evaluation"] == bundle.read(out).manifest["evaluation"]
    np.savez(other, **light | {"C_0": np.array([1.0, 0.0])})
    status, _, error = command("evaluate", out, other)
    assert (status, "was not made of" in error) == (2, True)


def maze(**options: Any) -> dict[str, Any]:
    """Return a T-maze (middle, left, right, cue; the reward is left or right) whose agent searches."""
    places, sides = 4, 2
    reward, cue = np.zeros((3, places, sides)), np.zeros((2, places, sides))
    reward[0, [0, 3]] = 1.0
    for arm in (1, 2):
        for side in range(sides):
            hit = 0.9 if arm == side + 1 else 0.1
            reward[1:, arm, side] = hit, 1 - hit
    cue[:, :3] = 0.5
    cue[:, 3] = [[0.95, 0.05], [0.05, 0.95]]
    move = np.zeros((places, places, places))
    for action in range(places):
        move[action, [0, 3], action] = 1.0
        move[[1, 2], [1, 2], action] = 1.0  # who is in an arm stays
    return {
        "A_0": np.eye(places),
        "A_1": reward,
        "A_2": cue,
        "A_deps": "[[0], [0, 1], [0, 1]]",
        "B_0": move,
        "B_1": np.eye(sides)[:, :, np.newaxis],
        "C_0": np.zeros(places),
        "C_1": np.array([0.0, 2.0, -3.0]),
        "C_2": np.zeros(2),
        "D_0": np.array([1.0, 0.0, 0.0, 0.0]),
        "D_1": np.array([0.5, 0.5]),
        "gamma": 4.0,
        "sophisticated": True,
        "si_horizon": 2,
        "si_max_nodes": 500,
        "si_entropy_stop_threshold": 0.0,
    } | options


def test_an_agent_that_searches_is_converted_and_reads_the_cue_first(command: Any, tmp_path: Path) -> None:
    source, out = tmp_path / "maze.npz", tmp_path / "maze.eab"
    np.savez(source, **maze())
    status, result, errors = command("convert", source, "-o", out)
    assert (status, errors) == (0, "")
    assert result["evaluation"]["action_agreement"] >= 0.99
    assert result["evaluation"]["max_posterior_kl"] <= 1e-3
    model = Model.load(out)
    assert model.options.sophisticated
    assert model.options.si_horizon == 2
    for side in (0, 1):
        agent = Population(model, 1)
        assert agent.step(np.array([[0, 0, 0]]))[0, 0] == 3
        assert agent.step(np.array([[3, 0, side]]))[0, 0] == side + 1


@pytest.mark.parametrize("algorithm", ["mmp", "vmp"])
def test_an_agent_that_infers_over_a_window_is_converted(
    algorithm: str, command: Any, tmp_path: Path
) -> None:
    source, out = tmp_path / "maze.npz", tmp_path / "maze.eab"
    options = {"sophisticated": False, "inference_algo": algorithm, "inference_horizon": 3}
    np.savez(source, **maze(**options))
    status, result, errors = command("convert", source, "-o", out)
    assert (status, errors) == (0, "")
    assert result["evaluation"]["clear_agreement"] == 1.0
    assert result["evaluation"]["max_posterior_kl"] <= 1e-2
    model = Model.load(out)
    assert (model.options.inference_algo, model.slots) == (algorithm, 3)
