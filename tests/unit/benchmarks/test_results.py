"""Stored results are read back unchanged, and the median run is a real run."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks import cases, results
from benchmarks.figures import LESS, Figure, at_most

figures = st.builds(
    Figure,
    st.text(max_size=5),
    st.text(max_size=5),
    st.floats(-1e9, 1e9),
    st.sampled_from(["us", "B"]),
    st.none() | st.text(max_size=5),
    st.none() | st.floats(0, 1e9),
    st.none() | st.floats(0, 1e9),
    st.none() | st.booleans(),
)
named = st.dictionaries(st.text(max_size=5), st.lists(figures, max_size=3).map(tuple), max_size=3)


@given(named)
def test_results_come_back_from_their_file(tmp_path_factory, found) -> None:
    result = results.Result("step", "command", "2026-01-01", "abc", {"cores": 2}, 1.5, found)
    assert results.read(results.write(tmp_path_factory.mktemp("r"), result)) == result


@given(named)
def test_a_baseline_comes_back_from_its_file(tmp_path_factory, found) -> None:
    path = tmp_path_factory.mktemp("b") / "baseline.json"
    baseline = results.Baseline("1.0", "abc", {"cores": 2}, {"step": found})
    results.write_baseline(path, baseline)
    assert results.read_baseline(path) == baseline


def run(value: float, ratio: float) -> list[Figure]:
    return [
        Figure("a", "step", value, "us", "loop", ratio, 2.0, ratio <= 2.0, LESS),
        at_most("a", "RSS", value, "MB", 5),
    ]


def test_of_three_runs_the_one_in_the_middle_counts_with_its_own_verdict() -> None:
    ratio, size = cases.middle([run(9.0, 3.0), run(7.0, 1.0), run(1.0, 2.5)])
    assert (ratio.value, ratio.ratio, ratio.holds) == (1.0, 2.5, False)
    assert (ratio.runs, ratio.low, ratio.high) == (3, 1.0, 3.0)
    assert (size.value, size.holds, size.low, size.high) == (7.0, False, 1.0, 9.0)


def test_one_run_has_no_spread() -> None:
    (only, _) = cases.middle([run(9.0, 3.0)])
    assert (only.runs, only.low, only.high) == (1, None, None)


def test_figures_with_other_baselines_are_other_figures() -> None:
    both = [Figure("a", "rate", 5.0, "1/s", name, 1.0) for name in ("one", "none")]
    assert len(cases.middle([both, both])) == 2
