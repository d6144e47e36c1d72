"""Bundles decide as the live pymdp agents whose traces tests/golden/agents holds (made by ``make parity``'s
agents).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.wire import bundle, npz
from edge_convert.bundle import agent_bundle
from edge_convert.bundle.job import Job
from edge_convert.measure import agent_fidelity
from edge_convert.measure.agent_fidelity import TraceHistory, bundle_decisions, trace_decisions
from edge_convert.measure.decisions import CLEAR, Decisions, compare
from edge_convert.readers import pymdp_npz

AGENTS = Path(__file__).parents[2] / "golden" / "agents"
NAMES = sorted(path.stem for path in AGENTS.glob("*.npz"))


def copied(name: str, folder: Path, **changes: np.ndarray | None) -> Path:
    """Write a live agent's file with some keys changed, or left out (None)."""
    with np.load(AGENTS / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files} | changes
    path = folder / f"{name}.npz"
    path.write_bytes(npz.write({key: value for key, value in arrays.items() if value is not None}))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_decides_as_the_live_agent(name: str, tmp_path: Path) -> None:
    path = AGENTS / f"{name}.npz"
    conversion = agent_bundle.convert(Job(path, tmp_path / "a.eab", name), "pymdp")
    source = conversion.source
    assert source.trace is not None
    wanted = trace_decisions(source.arrays, source.trace)
    history = TraceHistory.of_trace(source.trace)
    found = compare(source.arrays, wanted, bundle_decisions(source.arrays, conversion.model, history), name)
    assert found.kl.max() <= 1e-3
    assert found.alike.mean() >= 0.97  # one of forty may be too near to call
    assert found.regret.max() <= 0.02
    assert not (~found.agree & (found.gap > CLEAR)).any()


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_is_the_live_agent(name: str) -> None:
    source = pymdp_npz.read(AGENTS / f"{name}.npz")
    fidelity = agent_fidelity.measure(source, source.model(name), None, "", 0)
    assert fidelity.export is not None
    assert fidelity.export.kl.max() < 1e-6  # the live agent computes in float32
    assert fidelity.export.tv.max() < 1e-5
    assert fidelity.export.alike.all()


def test_the_report_has_a_line_for_each_measure(command: Any, tmp_path: Path) -> None:
    out, report = tmp_path / "a.eab", tmp_path / "a.html"
    path = AGENTS / "preprocess_fn_allowed.npz"
    status, result, _ = command("convert", path, "-o", out, "--report", report)
    assert status == 0
    assert [line["measured"] for line in result["measured"]] == [
        "against your agent",
        "against the float64 reference",
    ]
    assert "without preprocess_fn" in result["evaluation"]["agent"]["data"]
    manifest = bundle.read(out).manifest["evaluation"]
    assert manifest["allowed"] == ["preprocess_fn"]
    page = report.read_text()
    assert "against your agent" in page
    assert "Exported without preprocess_fn" in page


def test_the_verdict_rests_on_the_users_agent_first(command: Any, tmp_path: Path) -> None:
    """An option that was lost on the way is refused, and not for the bits."""
    path = copied("sampling_mode_full_two_factors", tmp_path, use_utility=np.array(False))
    status, _, error = command("convert", path, "-o", tmp_path / "a.eab")
    assert status == 1
    assert "(against your agent)" in error
    assert "against the float64 reference)" not in error
    assert "not the bits: the float64 reference itself is not your agent" in error


def test_ties_break_no_limit(command: Any, tmp_path: Path) -> None:
    """The T-maze's agent decides most steps among equals, in float32's noise."""
    status, result, _ = command("convert", AGENTS / "env_tmaze.npz", "-o", tmp_path / "a.eab", "--bits", "8")
    assert status == 0
    figures = result["evaluation"]["agent"]
    assert figures["ties"] > 20
    assert figures["max_regret"] < 1e-3


def test_what_misses_gets_sixteen_bits_and_says_so(command: Any, tmp_path: Path) -> None:
    out = tmp_path / "a.eab"
    path = AGENTS / "sampling_mode_marginal_two_factors.npz"
    limits = ("--max-kl", "1e-5")
    status, _, error = command("convert", path, "-o", out, "--bits", "8", *limits)
    assert status == 1
    assert "--bits auto stores what needs it in 16 bits" in error
    status, result, _ = command("convert", path, "-o", out, *limits)
    assert status == 0
    assert result["evaluation"]["wide"]
    tries = result["precision"]
    assert tries[0]["16 bits"] == "none"
    assert tries[0]["verdict"] == "misses"
    assert tries[-1]["max_posterior_kl"] <= 1e-5
    few = result["memory"]["model_bytes"]
    status, result, _ = command("convert", path, "-o", out, "--bits", "16")
    assert status == 0
    assert set(result["evaluation"]["wide"]) == {"A_0", "A_1", "B_0", "B_1", "beliefs_0", "beliefs_1"}
    assert result["memory"]["model_bytes"] >= few


def test_exact_inference_is_held_against_the_reference(command: Any, tmp_path: Path) -> None:
    path, report = AGENTS / "sampling_mode_full_two_factors.npz", tmp_path / "a.html"
    given = ("--inference", "exact", "--report", report)
    status, result, _ = command("convert", path, "-o", tmp_path / "a.eab", *given)
    assert status == 0
    assert result["evaluation"]["altered"] == ["inference_algo"]
    assert result["evaluation"]["max_posterior_kl"] <= 1e-3
    assert result["evaluation"]["agent"]["max_posterior_kl"] > 1e-3  # fixed-point iteration is another answer
    assert "inference_algo is not the live agent" in report.read_text()


def two_choices(*q_pi: list[float]) -> Decisions:
    """Decisions of an agent with two policies, the action with the first of the largest."""
    table = np.array(q_pi)[:, np.newaxis]
    return Decisions((np.ones((len(q_pi), 1, 1)),), table, table.argmax(axis=-1)[..., np.newaxis])


def test_clear_decisions_ties_and_regret_are_what_the_definitions_say() -> None:
    source = pymdp_npz.read(AGENTS / "notebook_agent_demo.npz").arrays
    model = replace(source, policies=np.array([[[0]], [[1]]]), B=(np.ones((1, 1, 2)),))
    wanted = two_choices([0.6, 0.4], [0.52, 0.48], [0.5, 0.5], [0.3, 0.7])
    found = two_choices([0.4, 0.6], [0.48, 0.52], [0.4, 0.6], [0.3, 0.7])
    result = compare(model, wanted, found, "by hand")
    np.testing.assert_allclose(result.gap[:, 0], [0.2, 0.04, 0.0, 0.4])
    np.testing.assert_allclose(result.regret[:, 0], [np.log(0.6 / 0.4), np.log(0.52 / 0.48), 0.0, 0.0])
    assert result.tied[:, 0].tolist() == [False, False, True, False]
    figures = result.figures()
    assert (figures["clear_decisions"], figures["clear_differences"]) == (2, 1)
    assert (figures["ties"], figures["tie_differences"]) == (1, 1)
    assert figures["clear_agreement"] == 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trace_obs": None}, "trace_obs is missing, while other keys of a trace are there"),
        ({"trace_act": None}, "trace_act is missing, while trace_obs is there"),
        ({"trace_q_pi": np.zeros((40, 3), np.float32)}, "trace_q_pi: step 0 sums to 0, expected 1"),
        ({"trace_G": np.zeros((40, 2), np.float32)}, "trace_G is float32 (40, 2), expected (40, 3)"),
        ({"trace_executed": np.full((40, 2), 3, np.int16)}, "trace_executed: entry (0, 0) is 3"),
        ({"trace_more": np.zeros(1)}, "trace_more is not a key of traces"),
        ({"allowed": np.array("{}")}, "allowed is {}, expected a list of names"),
        ({"sampling_mode": np.array("best")}, "sampling_mode: 'best', expected one of full, marginal"),
        ({"num_iter": np.array([1, 2])}, "num_iter is int64 (2,), expected one value"),
    ],
)
def test_what_is_wrong_with_a_trace_or_an_option_is_one_line(
    command: Any, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = copied("notebook_agent_demo", tmp_path, **changes)
    status, _, error = command("convert", path, "-o", tmp_path / "a.eab")
    assert status == 2
    assert words in error
    assert str(path) in error
    assert len(error.strip().splitlines()) == 1
