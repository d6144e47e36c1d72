"""``replay`` and ``infer``: their output, and their errors for invalid files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent import Population
from edge_agent.cli import main
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.runtime.population.models import populate
from edge_agent.runtime.recording.recorder import frame
from tests.support import fan

TICKS = 6
NAMES = ["hall", "lab"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle and a recording of two agents; we are in it."""
    monkeypatch.chdir(tmp_path)
    model = fan.model()
    digest = fan.write(tmp_path / "fan.eab", model)
    population = Population(model, len(NAMES), seed=4)
    entries: list[dict[str, Any]] = [
        {"kind": "begin", "population": "rooms", "digest": digest, "bundle": "fan.eab", "size": len(NAMES)}
        | {"seed": 4, "horizon": None, "names": NAMES, "beliefs": population.checkpoint()}
    ]
    for tick in range(TICKS):
        # The lab is heard from in every other tick alone.
        agents = np.arange(2 - tick % 2)
        observed = np.ones((len(agents), 1), np.int16)
        actions = population.step(observed, agents).astype("<i2")
        who = b"" if len(agents) == 2 else agents.astype("<i4").tobytes()
        entries.append(
            {"kind": "step", "population": "rooms", "tick": tick, "agents": who, "actions": actions.tobytes()}
            | {"observed": observed.astype("<i2").tobytes(), "shape": [len(agents), 1, 1]}
        )
    write(tmp_path / "recording", entries)
    changed = dict(entries[2], actions=np.array([1 - np.frombuffer(entries[2]["actions"], "<i2")[0]], "<i2"))
    changed["actions"] = changed["actions"].tobytes()
    write(tmp_path / "changed", [*entries[:2], changed, *entries[3:]])
    write(tmp_path / "unbegun", entries[1:])
    write(tmp_path / "longer", [dict(entries[0], horizon="long"), *entries[1:]])
    write(tmp_path / "named", [dict(entries[0], names=["hall"]), *entries[1:]])
    write(tmp_path / "crowded", [dict(entries[0], size=10**9), *entries[1:]])
    write(tmp_path / "bent", [entries[0], dict(entries[1], shape=[1, 1, 1])])
    (tmp_path / "text").write_text("not a recording")
    return tmp_path


def write(path: Path, entries: list[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(map(frame, entries)))


def test_a_replay_says_that_all_came_out_or_where_it_did_not(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", "recording"]) == 0
    assert capsys.readouterr().out == "9 decisions in 6 steps came out bit for bit\n"
    assert main(["replay", "changed"]) == 1
    assert capsys.readouterr().out.startswith("population rooms, tick 1, agent 0: recorded [")
    assert main(["replay", "changed", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["difference"]["tick"] == 1


def test_an_explanation_names_what_was_seen_believed_and_weighed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", "recording", "--explain", "2", "lab", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["agent"], found["observed"]) == ("lab", ["co2 800.. ppm"])
    assert main(["replay", "recording", "--explain", "2", "lab"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("lab observed co2 800.. ppm (surprise ")
    assert lines[1].startswith("believed air: bad ")
    assert lines[2].split()[0] == "policy"
    assert len(lines) == 2 + 1 + 2 + 1  # a policy an action
    assert lines[-1].startswith("did on: ")


def test_an_explanation_of_what_was_learned_has_the_delivered_tables_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = fan.model()
    prior = Concentrations.of(plain, [np.asarray(a) + 0.1 for a in plain.arrays().A], lr_pA=50.0)
    model = replace(plain, learning=prior.stored())
    digest = fan.write(tmp_path / "fan.eab", model)
    population = populate(model, 1, 4, learn_every=2)
    entries: list[dict[str, Any]] = [
        {"kind": "begin", "population": "rooms", "digest": digest, "bundle": "fan.eab", "size": 1, "seed": 4}
        | {"horizon": None, "names": ["hall"], "beliefs": population.checkpoint(), "learn_every": 2}
    ]
    for tick in range(4):
        observed = np.ones((1, 1), np.int16)
        actions = population.step(observed).astype("<i2")
        entries.append(
            {"kind": "step", "population": "rooms", "tick": tick, "agents": b"", "actions": actions.tobytes()}
            | {"observed": observed.astype("<i2").tobytes(), "shape": [1, 1, 1]}
        )
    write(tmp_path / "recording", entries)
    assert main(["replay", "recording", "--explain", "3", "hall", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["learned"] == {"updates": 4, "swaps": 1}
    assert found["delivered"]["observed"] == found["observed"]
    assert found["delivered"]["free_energy"] != found["free_energy"]
    assert main(["replay", "recording", "--explain", "3", "hall"]) == 0
    text = capsys.readouterr().out
    assert "\nby the delivered tables (4 agents' ticks counted, new tables 1 times): another action\n" in text
    assert text.count("hall observed co2 800.. ppm (surprise ") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none"], "none: No such file"),
        (["text"], "text: not a flight recording, or nothing in it is whole"),
        (["unbegun"], "recording: population rooms steps before it begins"),
        (["longer"], "recording: horizon is 'long', expected a number of steps or none"),
        (["named"], "recording: names are ['hall'], expected 2 of them or a pattern"),
        (["crowded"], "recording: 1000000000 agents, their beliefs are "),
        (["bent"], "recording: tick 0 is of shape [1, 1, 1], expected [2, 1, 1]"),
        (["recording", "--explain", "soon", "lab"], "--explain: found 'soon', expected a tick number"),
        (["recording", "--explain", "1", "lab"], "--explain: agent 'lab' did not step in tick 1"),
        (["recording", "--explain", "1", "attic"], "--explain: agent 'attic' did not step in tick 1"),
        (["recording", "--explain", "9", "lab"], "tick 9 of rooms is not recorded; recorded: 0 to 5"),
        (
            ["recording", "--explain", "1", "lab", "--population", "p"],
            "tick 1 of p is not recorded; recorded: none",
        ),
    ],
)
def test_what_cannot_be_replayed_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["replay", *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_another_bundle_in_the_place_of_the_recorded_one_is_told(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "fan.eab").rename(place / "kept.eab")
    fan.write(place / "fan.eab", fan.model(preference=2.0))
    assert main(["replay", "recording"]) == 2
    assert "fan.eab: no bundle with digest" in capsys.readouterr().err
    assert main(["replay", "recording", "--bundle", "kept.eab"]) == 0


@pytest.mark.parametrize(
    ("arrays", "more", "message"),
    [
        (None, [], "t.npz: No such file"),
        ({"x": np.zeros((3, 1))}, [], "t.npz: found x, expected an array obs"),
        ({"obs": np.zeros((3, 1))}, [], "t.npz: obs: float64 of shape (3, 1), expected integers"),
        ({"obs": np.zeros((3, 2, 1), int)}, ["--agents", "5"], "t.npz: obs: 2 agents, expected 5"),
        ({"obs": np.full((3, 1), 7)}, [], "t.npz: observations: agent 0, modality 0: 7, expected -1 to 1"),
        ({"obs": np.zeros((3, 1), int)}, ["--teacher-forced"], "t.npz: found obs, expected an array act"),
        ({"obs": np.zeros((3, 1), int), "restarts": np.zeros(2)}, [], "t.npz: restarts is float64 (2,)"),
    ],
)
def test_what_cannot_be_inferred_from_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], arrays: Any, more: list[str], message: str
) -> None:
    if arrays is not None:
        np.savez(place / "t.npz", **arrays)
    assert main(["infer", "fan.eab", "--trace", "t.npz", "-o", "out.npz", *more]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (place / "out.npz").exists()


def test_a_trace_that_is_no_archive_and_an_output_without_a_folder_are_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(place / "t.npy", np.zeros((3, 1), int))
    assert main(["infer", "fan.eab", "--trace", "t.npy", "-o", "out.npz"]) == 2
    assert "t.npy: not a whole .npz file" in capsys.readouterr().err
    np.savez(place / "t.npz", obs=np.zeros((3, 1), int))
    words = ["infer", "fan.eab", "--trace", "t.npz", "--json", "-o"]
    assert main([*words, "none/out.npz"]) == 1
    assert "none/out.npz: No such file or directory" in capsys.readouterr().err
    assert main([*words, "out.npz"]) == 0
    assert json.loads(capsys.readouterr().out)["shapes"]["act"] == [3, 1]


def test_infer_takes_distributions_over_outcomes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = Population(fan.model(), 1).model.num_obs[0]
    sure = np.eye(outcomes, dtype=np.float32)[[1, 0, 1]]
    np.savez(place / "hard.npz", obs=np.array([[1], [0], [1]]))
    np.savez(place / "soft.npz", obs=np.full((3, 1), -1), soft_0=sure)
    for name in ("hard", "soft"):
        assert main(["infer", "fan.eab", "--trace", f"{name}.npz", "-o", f"{name}.out", "--seed", "3"]) == 0
    with np.load(place / "hard.out") as hard, np.load(place / "soft.out") as soft:
        np.testing.assert_array_equal(hard["act"], soft["act"])
        np.testing.assert_allclose(hard["qs_0"], soft["qs_0"], atol=1e-3)
    np.savez(place / "odd.npz", obs=np.full((3, 1), -1), soft_7=sure)
    assert main(["infer", "fan.eab", "--trace", "odd.npz", "-o", "odd.out"]) == 2
    assert "odd.npz: soft: modality 7, expected 0 to 0" in capsys.readouterr().err
