"""``make bench-check`` finds regressions and ignores noise."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import compare
from benchmarks.figures import LESS, MORE, Figure

positive = st.floats(0.01, 1e6)


def figure(ratio: float | None, better: str | None = LESS, **more) -> Figure:
    return Figure("case", "step", 1.0, "us", "raw loop", ratio, better=better, **more)


def verdict(before: Figure, now: Figure) -> compare.Verdict:
    (only,) = compare.verdicts("neural", [before], [now])
    return only


@pytest.mark.parametrize(
    ("better", "before", "now", "holds"),
    [
        (LESS, 1.0, 1.09, True),
        (LESS, 1.0, 1.11, False),
        (LESS, 1.0, 0.5, True),
        (MORE, 50.0, 45.5, True),
        (MORE, 50.0, 44.5, False),
        (MORE, 50.0, 90.0, True),
    ],
)
def test_above_ten_percent_worse_is_a_regression(better, before, now, holds) -> None:
    assert verdict(figure(before, better), figure(now, better)).holds is holds


def test_what_the_releases_own_runs_differed_by_is_no_regression() -> None:
    noisy = figure(1.0, LESS, runs=3, low=0.9, high=1.3)
    assert verdict(noisy, figure(1.29)).holds
    assert not verdict(noisy, figure(1.31)).holds
    assert not verdict(figure(1.0, LESS, runs=3, low=0.99, high=1.01), figure(1.11)).holds


def test_times_are_not_compared_and_sizes_are() -> None:
    time_ = Figure("start", "first decision", 0.5, "s", better=LESS)
    size = Figure("s2", "model", 9000, "bytes", better=LESS)
    undirected = figure(2.0, None)
    assert not compare.gated(time_)
    assert not compare.gated(undirected)
    (only,) = compare.verdicts(
        "step", [time_, size, undirected], [Figure("s2", "model", 10_000, "bytes", better=LESS)]
    )
    assert only.figure == "model"
    assert not only.holds


def test_a_figure_that_is_gone_is_a_regression_and_a_new_one_is_not() -> None:
    (gone,) = compare.verdicts(
        "neural", [figure(1.0)], [Figure("case", "other", 1.0, "us", "x", 9.0, better=LESS)]
    )
    assert not gone.holds
    assert "not measured" in gone.line


def test_the_line_names_what_it_was_and_what_it_is() -> None:
    line = verdict(figure(1.0), figure(1.25)).line
    assert (
        line
        == "neural: case, step compared with raw loop: 1 in the release, 1.25 now, 25.0% worse (10% allowed)"
    )


def test_the_report_names_what_is_nearest_to_a_regression() -> None:
    found = [verdict(figure(1.0), figure(now)) for now in (1.02, 1.2, 0.5)]
    (row,) = compare.table_rows(found)
    assert (row["benchmark"], row["compared"], row["worse"]) == ("neural", 3, 1)
    assert row["nearest to it"] == found[1].line.removeprefix("neural: ")


def test_what_was_nothing_and_is_something_is_worse() -> None:
    before, now = (Figure("growth", "RSS", value, "MB", better=LESS) for value in (0.0, 0.4))
    assert not verdict(before, now).holds
    assert verdict(before, before).holds


@given(positive, positive, st.sampled_from([LESS, MORE]))
def test_worse_changes_sign_with_the_direction(before, now, better) -> None:
    other = MORE if better == LESS else LESS
    assert compare.worse(before, now, better) == -compare.worse(before, now, other)
    assert (compare.worse(before, now, LESS) > 0) == (now > before)


class Measured:
    """Ratios in the order in which they are measured, and how often that was asked for."""

    def __init__(self, *ratios: float) -> None:
        self.ratios: Iterator[float] = iter(ratios)
        self.asked: list[int | None] = []

    def __call__(self, runs: int | None) -> list[Figure]:
        self.asked.append(runs)
        return [figure(next(self.ratios))]


def test_what_seems_worse_once_is_measured_again_and_forgiven() -> None:
    measure = Measured(1.5, 1.0, 1.02, 1.01, 1.3)
    (only,) = compare.settled("neural", [figure(1.0)], measure)
    assert only.holds
    assert only.now == 1.02
    assert measure.asked == [None, 1, 1, 1, 1]


def test_what_is_worse_every_time_stays_worse() -> None:
    (only,) = compare.settled("neural", [figure(1.0)], Measured(1.15, 1.14, 1.2, 1.02, 1.16))
    assert not only.holds


def test_what_holds_is_measured_once() -> None:
    measure = Measured(1.05)
    compare.settled("neural", [figure(1.0)], measure)
    assert measure.asked == [None]
