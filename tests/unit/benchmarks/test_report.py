"""The report contains the results and nothing else."""

from pathlib import Path

import pytest

from benchmarks import front, plots, report, results, tables
from benchmarks.figures import LESS, Figure, at_most
from benchmarks.report import Table
from benchmarks.results import Result

MACHINE = {"processor": "p", "cores": 2, "load_before": 0.5}


def result(name: str, *figures: Figure) -> Result:
    return Result(
        name, f"python -m benchmarks.suite --only {name}", "2026-01-01", "abc", MACHINE, 3.0, {"all": figures}
    )


FOUND = {
    "neural": result(
        "neural",
        Figure("litert policy x1", "step", 12.5, "us", "raw loop", 1.4, 1.05, False, LESS, 3, 1.3, 1.5),
    ),
    "memory": result("memory", at_most("1000-agents", "RSS", 43.25, "MB", 44.0)),
}
CURVES = {"soak": {"pi1": [[(0.0, 44.0), (1.0, 45.0)], [(2.0, 44.0)]]}}


def test_every_figure_stands_there_with_its_command_and_spread() -> None:
    text = report.report(FOUND, {}, [])
    assert "## Networks (`python -m benchmarks.neural`)" in text
    compared = "1.4 × raw loop (less is better) | 3: 1.3 to 1.5 | 1.05, **not met** |"
    assert f"| litert policy x1 | step | 12.5 us | {compared}" in text
    assert "| 1000-agents | RSS | 43.2 MB |  |  | 44 |" in text


def test_what_is_not_met_stands_first() -> None:
    text = report.report(FOUND, {}, [])
    assert "2 figures; 1 of 2 targets are met. Not met:" in text
    assert text.index("step: 12.5 us, 1.4 × raw loop (less is better); target 1.05") < text.index("## ")


def test_tables_of_other_commands_are_taken_in_where_they_are(tmp_path: Path) -> None:
    rows = [{"target": "bundle", "inputs": 123456}]
    fuzz = Table("make fuzz", "2026-01-01", rows, ["no | crash"], {"found": [[[0.0, 1.0]]]})
    report.write_table("fuzz", fuzz, tmp_path)
    found = report.load_tables(tmp_path)
    assert found == {"fuzz": fuzz}
    text = report.report(FOUND, found, [])
    assert "## Fuzzing (`make fuzz`)" in text
    assert "| bundle | 123,456 |" in text
    assert "## Mutation" not in text


def test_a_table_without_notes_is_taken_in(tmp_path: Path) -> None:
    (tmp_path / "coverage.json").write_text('{"command": "c", "date": "d", "rows": [{"file": "a.py"}]}')
    assert "| a.py |" in report.report({}, report.load_tables(tmp_path), [])


def test_readmes_table_is_replaced_and_the_rest_left_alone() -> None:
    text = f"before\n{report.BEGIN}old\n{report.END}after\n"
    once = report.in_readme(text, "| new |")
    assert once == report.in_readme(once, "| new |")
    assert (once.startswith("before\n"), once.endswith("after\n"), "old" in once) == (True, True, False)


def test_a_row_of_the_front_page_says_when_it_was_not_measured() -> None:
    text = front.readme(FOUND)
    assert "| whole daemon, 1,000 agents, resident memory | 43.2 MB | `python -m benchmarks.memory` |" in text
    assert "not measured | `python -m benchmarks.daemon`" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (0.0372, "0.0372"), (99.95, "100"), (1234.5, "1,234"), (3.8e-05, "3.80e-05"), (0, "0")],
)
def test_numbers_are_written_short(value: float, text: str) -> None:
    assert tables.number(value) == text


def test_the_same_results_give_the_same_pictures(tmp_path: Path) -> None:
    drawn = plots.draw(FOUND, CURVES, tmp_path / "a")
    assert drawn == plots.draw(FOUND, CURVES, tmp_path / "b") == ["neural", "soak"]
    for name in drawn:
        assert (tmp_path / f"a/{name}.svg").read_bytes() == (tmp_path / f"b/{name}.svg").read_bytes()


def test_the_reports_in_the_repository_are_what_the_stored_results_give(tmp_path: Path) -> None:
    found = report.load(results.FOLDER)
    kept = report.load_tables(results.FOLDER)
    drawn = plots.draw(found, report.curves(kept), tmp_path)
    again = "run: make report"
    assert report.REPORT.read_text() == report.report(found, kept, drawn), again
    readme = report.README.read_text()
    assert readme == report.in_readme(readme, front.readme(found)), again


def test_the_table_beside_freeagentics_says_what_was_simulated_and_was_measured() -> None:
    names = {place.benchmark for _, _, place in front.FREEAGENTICS}
    found = {name: results.read(results.FOLDER / f"{name}.json") for name in names}
    for row, theirs, place in front.FREEAGENTICS:
        assert front.find(found, place) is not None, row
        if "devices" in place.case:  # one of them runs
            assert "simulated" in row
            assert theirs == "not published"
    (share,) = (place for _, theirs, place in front.FREEAGENTICS if theirs == "28.4 %")
    assert share.case == "50 agents, one core"
