"""Sensitivity and reports of agents: the tensor that loses most is named first, and the page stands alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.engine import Model
from edge_convert import agent_fidelity, agent_sensitivity, console
from edge_convert.agents import agent_source


def test_the_tensor_with_more_values_than_a_palette_is_the_most_sensitive() -> None:
    rng = np.random.default_rng(0)
    source = agent_source(
        Path("m.npz"),
        [rng.dirichlet(np.full(20, 0.3), size=30).T],  # 600 values: they cannot all be in the palette
        [np.stack([np.roll(np.eye(30), u, axis=0) for u in (-1, 0, 1)], axis=-1)],  # two values
        [rng.normal(size=20)],
        None,
        meta={},
    )
    fidelity = agent_fidelity.measure(source.arrays, source.model("m"), None, "", 0)
    ranking = agent_sensitivity.rank(source.arrays, source.model("m"), fidelity.history)
    assert [row.tensor for row in ranking] == ["A_0", "beliefs", "B_0"]
    assert ranking[0].max_kl > 0
    assert ranking[-1].max_kl < 1e-12


def test_figures_are_those_of_a_worse_model(light: dict[str, Any]) -> None:
    A, B, C, D = (light[f"{letter}_0"] for letter in "ABCD")
    source = agent_source(Path("m.npz"), [A], [B], [C], [D], meta={})
    other = replace(source.arrays, A=(np.array([[0.2, 0.9], [0.8, 0.1]]),))
    wrong = Model.quantized(other)
    figures = agent_fidelity.measure(source.arrays, wrong, None, "", 0).figures()
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
