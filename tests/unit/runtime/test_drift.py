"""The stability index against hand-made figures, tables and simulated chance; windows on a given clock."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edge_agent.engine.binding import Binding, seen_counts
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Arena, total
from edge_agent.runtime.population import drift
from edge_agent.runtime.population.drift import DriftWindow

DAY = 86_400.0


def test_the_index_is_the_formula() -> None:
    many = 1e9  # half a count per bin is nothing then
    found = drift.stability_index([0.5 * many, 0.5 * many], [0.6 * many, 0.4 * many])
    assert found == pytest.approx(0.1 * math.log(0.6 / 0.5) - 0.1 * math.log(0.4 / 0.5), abs=1e-8)
    p, q = [0.2, 0.3, 0.5], [0.3, 0.3, 0.4]
    by_hand = 0.1 * math.log(0.3 / 0.2) - 0.1 * math.log(0.4 / 0.5)
    assert drift.stability_index([x * many for x in p], [x * many for x in q]) == pytest.approx(by_hand)
    assert drift.stability_index([7, 8, 9], [7, 8, 9]) == 0.0
    assert 0.25 < drift.stability_index([100, 0], [50, 50]) < math.inf  # a bin that was never seen


@pytest.mark.parametrize(
    ("degrees", "table"),
    [(1, 10.828), (2, 13.816), (4, 18.467), (9, 27.877), (19, 43.820), (49, 85.351), (99, 148.230)],
)
def test_the_quantile_is_that_of_the_tables(degrees: int, table: float) -> None:
    assert drift.chi_squared_999(degrees) == pytest.approx(table, rel=0.04)


@pytest.mark.parametrize(
    ("bins", "training", "readings"), [(2, 5000, 800), (5, 2000, 2000), (12, 8000, 1500)]
)
def test_chance_exceeds_the_bound_about_once_in_a_thousand(bins: int, training: int, readings: int) -> None:
    draw = np.random.default_rng(11)
    truth = draw.dirichlet(np.full(bins, 5.0))
    bound = drift.chance(training, readings, bins)
    rounds = 6000
    pairs = zip(
        draw.multinomial(training, truth, rounds), draw.multinomial(readings, truth, rounds), strict=True
    )
    beyond = sum(drift.stability_index(p, q) > bound for p, q in pairs)
    assert beyond <= 18  # 6 are expected; the 99.99 % point of Poisson(6) is 17


def binding(seen: list[Any]) -> Binding:
    modalities = [{"name": f"m{n}"} | ({} if row is None else {"seen": row}) for n, row in enumerate(seen)]
    sizes = [3 if row is None else len(row) for row in seen]
    return Binding({"modalities": modalities}, sizes, [2], "x.eab")


def window(seen: list[Any]) -> DriftWindow:
    bound = binding(seen)
    columns = DriftWindow.columns(bound)
    arrays = Arena(total(columns)).allocate("p", columns)
    return DriftWindow(bound.seen, arrays["drift"])


def run(made: DriftWindow, shares: list[float], begin: float, seconds: float, agents: int = 20) -> float:
    """Let agents read independently, every ten seconds."""
    draw, now = np.random.default_rng(3), begin
    while now < begin + seconds:
        codes = draw.choice(len(shares), (agents, 1), p=shares)
        codes[draw.random((agents, 1)) < 0.1] = -1
        made.note(codes, now)
        now += 10.0
    return now


def test_readings_as_in_training_are_no_drift_and_others_are() -> None:
    made = window([[5000, 3000, 2000]])
    now = run(made, [0.5, 0.3, 0.2], 0.0, DAY)
    assert made.figure is None  # the day is not over
    now = run(made, [0.5, 0.3, 0.2], now, 400.0)
    assert made.figure is not None
    assert made.figure < 0.02
    now = run(made, [0.2, 0.3, 0.5], now, 2 * DAY)
    exact = 0.3 * math.log(0.5 / 0.2) * 2.0
    assert made.figure == pytest.approx(exact, rel=0.15)
    ((column, expected, found),) = made.modalities()
    assert (column, expected) == (0, [5000, 3000, 2000])
    assert sum(found) == pytest.approx(0.9 * 20 * DAY / drift.SPACING_S, rel=0.05)  # once per spacing


def test_a_window_that_can_not_tell_yet_stays_open() -> None:
    made = window([[5000, 3000, 2000]])
    shares = [0.5, 0.3, 0.2]
    now = run(made, shares, 0.0, DAY + 600.0, agents=1)
    assert drift.chance(10_000, 0.9 * 288, 3) > drift.NOISE
    assert made.figure is None
    run(made, shares, now, DAY, agents=1)
    assert made.figure is not None
    assert made.figure < drift.NOISE


def test_what_never_reads_ends_its_window_without_a_figure() -> None:
    made = window([[5000, 3000, 2000]])
    for day in range(20):
        made.note(np.full((3, 1), -1), day * DAY)
    assert made.figure is None


def test_a_new_bundle_begins_new_windows() -> None:
    made = window([[5000, 3000, 2000]])
    now = run(made, [0.2, 0.3, 0.5], 0.0, 2 * DAY)
    assert made.figure is not None
    made.expect([(2000.0, 3000.0, 5000.0)])
    assert made.figure is None
    now = run(made, [0.2, 0.3, 0.5], now, 2 * DAY)
    assert made.figure is not None
    assert made.figure < 0.02
    made.expect([()])  # one that states nothing
    run(made, [0.2, 0.3, 0.5], now, 2 * DAY)
    assert made.figure is None


def test_a_bundle_without_counts_takes_no_memory() -> None:
    assert DriftWindow.columns(binding([None, None])) == ()
    (column,) = DriftWindow.columns(binding([None, [1, 2, 3, 4]]))
    assert column.shape == (2, 4)


@pytest.mark.parametrize("seen", [[1, 2], [1, 2, -3], [1, 2, "3"], [1, 2, True], "abc", [1, 2, math.inf]])
def test_counts_that_are_none_are_refused_in_one_line(seen: Any) -> None:
    with pytest.raises(ConfigError, match=r"x\.eab: modality co2: seen: found .*, expected 3 counts"):
        seen_counts({"modalities": [{"name": "co2", "seen": seen}]}, [3], "x.eab")
