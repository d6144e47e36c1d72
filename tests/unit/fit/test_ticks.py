"""Readings in ticks: what stands for a tick, what silence means, which action stood, where gaps end it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.wire.readings import ControlNames, ModalityNames, Readings
from edge_convert.fit.ticks import GAP_TICKS, Segment, segments, split_at
from tests.support.fit_worlds import toml

TEMPLATE = """
tick_seconds = 10.0
[[control]]
name = "fan"
values = ["off", "on"]
default = "on"
[[factor]]
name = "room"
states = ["a", "b"]
[[modality]]
name = "x"
sees = ["room"]
"""


def put(
    tmp_path: Path, entries: list[tuple[float, float]], more: str = "", acts: list[float] | None = None
) -> list[Segment]:
    """Return the ticks of readings (time, value); ``acts`` are the times of the action off."""
    array, times = np.array(entries), np.array(acts or [])
    zeros = np.zeros(len(array), np.int64)
    none = np.zeros(len(times), np.int64)
    readings = Readings(
        ("one",), (ModalityNames("x"),), (ControlNames("fan", ("off",)),),
        array[:, 0], zeros, zeros, array[:, 1], np.full(len(array), -1), times, none, none, none,
    )  # fmt: skip
    return segments(readings, toml(tmp_path / "t.toml", TEMPLATE + more), "readings")


@pytest.mark.parametrize(("rule", "stands"), [("last", 3.0), ("mean", 4.0), ("max", 7.0)])
def test_what_stands_for_a_tick(tmp_path: Path, rule: str, stands: float) -> None:
    (found,) = put(tmp_path, [(0, 1), (10, 2), (11, 7), (12, 3), (30, 5)], f'reduce = "{rule}"\n')
    np.testing.assert_array_equal(found.values[:, 0], [1, stands, np.nan, 5])


def test_readings_that_come_a_little_early_or_late_have_a_tick_each(tmp_path: Path) -> None:
    (found,) = put(tmp_path, [(0, 1), (9.6, 2), (20.4, 3), (29.7, 4)])
    assert found.values[:, 0].tolist() == [1, 2, 3, 4]


def test_silence_that_means_unchanged_holds_a_value_until_it_is_stale_or_lost(tmp_path: Path) -> None:
    more = 'silence = "unchanged"\nstale_s = 20.0\n'
    (found,) = put(tmp_path, [(0, 1), (40, 2), (50, np.nan), (70, 3)], more)
    np.testing.assert_array_equal(found.values[:, 0], [1, 1, 1, np.nan, 2, np.nan, np.nan, 3])


def test_the_action_of_a_tick_is_the_one_that_stood_at_its_end(tmp_path: Path) -> None:
    (found,) = put(tmp_path, [(0, 1), (10, 2), (20, 3), (30, 4)], acts=[14.0])
    assert found.actions[:, 0].tolist() == [1, 0, 0, 0]  # the default is on; off at 14 s, in the tick to 15 s


def test_nothing_is_learned_across_a_long_gap(tmp_path: Path) -> None:
    late = 10.0 * (GAP_TICKS + 2)
    first, second = put(tmp_path, [(0, 1), (10, 2), (late, 3), (late + 10, 4)])
    assert (first.values[:, 0].tolist(), second.values[:, 0].tolist()) == ([1, 2], [3, 4])
    before, after = split_at([first, second], second.first + 1)
    assert ([len(s) for s in before], [len(s) for s in after]) == ([2, 1], [1])
