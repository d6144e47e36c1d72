"""``make bench-check`` finds regressions and ignores noise."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import compare, regression
from benchmarks.figures import LESS, MORE, Figure

positive = st.floats(0.01, 1e6)


def figure(ratio: float | None, better: str | None = LESS, **more) -> Figure:
    return Figure("case", "step", 1.0, "us", "raw loop", ratio, better=better, **more)


def verdict(before: Figure, now: Figure) -> regression.Verdict:
    (only,) = regression.verdicts("neural", [before], [now])
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
    assert not regression.gated(time_)
    assert not regression.gated(undirected)
    (only,) = regression.verdicts(
        "step", [time_, size, undirected], [Figure("s2", "model", 10_000, "bytes", better=LESS)]
    )
    assert only.figure == "model"
    assert not only.holds


def test_a_figure_that_is_gone_is_a_regression_and_a_new_one_is_not() -> None:
    (gone,) = regression.verdicts(
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
    assert regression.worse(before, now, better) == -regression.worse(before, now, other)
    assert (regression.worse(before, now, LESS) > 0) == (now > before)


class Measured:
    """Ratios in the order in which they are measured, and how often that was asked for; ``us``: values."""

    def __init__(self, *ratios: float, us: float = 1.0) -> None:
        self.ratios: Iterator[float] = iter(ratios)
        self.us = us
        self.asked: list[int | None] = []

    def __call__(self, runs: int | None) -> list[Figure]:
        self.asked.append(runs)
        return [replace(figure(next(self.ratios), MORE), value=self.us)]


def never() -> list[Figure]:
    raise AssertionError("the release is measured where it need not be")


def test_what_seems_worse_once_is_measured_again_and_forgiven() -> None:
    measure = Measured(0.5, 1.0, 0.98, 0.99, 0.7)
    (only,) = regression.settled("neural", [figure(1.0, MORE)], measure, never)
    assert only.holds
    assert only.now == 0.98
    assert measure.asked == [None, 1, 1, 1, 1]


def test_what_holds_is_measured_once() -> None:
    measure = Measured(0.95)
    regression.settled("neural", [figure(1.0, MORE)], measure, never)
    assert measure.asked == [None]


@pytest.mark.parametrize(("release_us", "holds"), [(2.0, True), (1.9, True), (1.8, False)])
def test_what_is_worse_every_time_is_compared_by_value_with_the_release_on_this_machine(
    release_us: float, holds: bool
) -> None:
    release = Measured(*[9.0] * 4, us=release_us)  # its ratio is that of another baseline
    measure = Measured(0.85, 0.86, 0.8, 0.98, 0.84, *[0.85] * 4, us=2.0)
    (only,) = regression.settled("neural", [figure(1.0, MORE)], measure, partial(release, 1))
    assert (only.holds, only.before, only.now) == (holds, release_us, 2.0)
    assert "compared with the release on this machine" in only.line


def test_what_the_release_cant_measure_here_stays_worse() -> None:
    def fails() -> list[Figure]:
        raise subprocess.CalledProcessError(2, "python")

    measure = Measured(0.85, 0.86, 0.8, 0.88, 0.84)
    (only,) = regression.settled("neural", [figure(1.0, MORE)], measure, fails)
    assert (only.holds, only.baseline) == (False, "raw loop")


def test_what_is_accepted_is_no_regression_until_it_grows() -> None:
    def holds(now: int) -> bool:
        before, after = (Figure("s2_grid10_T1", "model_bytes", n, "B", better=LESS) for n in (9836, now))
        (only,) = regression.verdicts("step", [before], [after])
        return only.holds

    assert holds(16_504)
    assert not holds(16_600)
