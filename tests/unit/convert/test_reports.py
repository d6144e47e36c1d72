"""Sensitivity and reports of agents: the tensor with the largest loss comes first; the page is
self-contained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.engine import Model
from edge_convert import console
from edge_convert.measure import agent_fidelity
from edge_convert.readers.agent_source import agent_source
from edge_convert.sensitivity import agent_sensitivity


def test_the_tensor_that_is_off_is_the_most_sensitive(light: dict[str, Any]) -> None:
    A, B, C, D = (light[f"{letter}_0"] for letter in "ABCD")
    whole = agent_source(Path("m.npz"), [A], [B], [C], [D], meta={})
    source = whole.arrays
    for letter, wrong in (
        ("A_0", replace(source, A=(np.array([[0.8, 0.3], [0.2, 0.7]]),))),
        ("B_0", replace(source, B=(np.full_like(B, 0.5),))),
    ):
        model = Model.quantized(wrong)
        history = agent_fidelity.measure(whole, model, None, "", 0).history
        ranking = agent_sensitivity.rank(source, model, history)
        assert ranking[0].tensor == letter
        assert ranking[0].max_kl > 0.01
        assert {row.tensor for row in ranking} == {"A_0", "B_0", "beliefs_0"}
        assert all(row.max_kl < 0.01 for row in ranking[1:])


def test_figures_are_those_of_a_worse_model(light: dict[str, Any]) -> None:
    A, B, C, D = (light[f"{letter}_0"] for letter in "ABCD")
    source = agent_source(Path("m.npz"), [A], [B], [C], [D], meta={})
    other = replace(source.arrays, A=(np.array([[0.2, 0.9], [0.8, 0.1]]),))
    wrong = Model.quantized(other)
    figures = agent_fidelity.measure(source, wrong, None, "", 0).figures()
    assert figures["action_agreement"] < 0.9
    assert figures["max_regret"] > 0
    assert figures["max_posterior_kl"] > 0.1
    assert figures["return"] < figures["reference_return"]  # it was told that light is dark


def test_report_of_an_agent_is_one_file_with_plots(command: Any, source: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    status, result, _ = command("convert", source, "-o", tmp_path / "o.eab", "--report", report)
    assert status == 0
    page = report.read_text()
    assert page.count("data:image/png;base64,") == 6
    assert "http" not in page
    assert result["digest"] in page
    assert "<script" not in page


def test_tables_show_what_json_shows(capsys: Any) -> None:
    result = {
        "name": "a",
        "figures": {"kl": 0.000123456, "none": None, "yes": True, "rows": [1, 2]},
        "tensors": [{"tensor": "A_0", "bytes": 44}, {"tensor": "B_0"}],
    }
    console.show(result, as_json=False)
    shown = capsys.readouterr().out
    for words in ("figures.kl", "0.0001235", "yes", "1, 2", "A_0", "44", "B_0"):
        assert words in shown
