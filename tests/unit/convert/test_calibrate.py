"""Ranges: what each method keeps of values with and without an outlier."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_convert.quantize.calibrate import LEVELS, METHODS, mse, ranges

NORMAL = np.random.default_rng(0).normal(size=(1000, 20)).astype(np.float32)


def test_minmax_is_the_extremes() -> None:
    assert ranges({"t": NORMAL}, "minmax")["t"] == (float(NORMAL.min()), float(NORMAL.max()))


def test_percentile_drops_a_broken_sample_and_keeps_a_whole_distribution() -> None:
    broken = NORMAL.copy()
    broken[3] *= 1000
    assert ranges({"t": broken}, "percentile")["t"] == pytest.approx(
        ranges({"t": NORMAL}, "minmax")["t"], rel=0.4
    )
    uniform = np.linspace(-1, 1, 5000, dtype=np.float32).reshape(-1, 5)
    assert ranges({"t": uniform}, "percentile")["t"] == (-1.0, 1.0)


def test_mse_clips_where_rounding_gains_more_than_clipping_loses() -> None:
    heavy = np.concatenate([NORMAL.ravel(), [60.0, -60.0]]).astype(np.float32)[:, None]

    def error(low: float, high: float) -> float:
        step = (high - low) / (LEVELS - 1)
        return float(((np.clip(np.round(heavy / step) * step, low, high) - heavy) ** 2).mean())

    low, high = mse(heavy)
    assert error(low, high) < error(-60, 60)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None)
@given(
    values=arrays(
        np.float32,
        st.tuples(st.integers(1, 130), st.integers(1, 4)),
        elements=st.floats(-1000, 1000, width=32),
    )
)
def test_ranges_contain_zero_are_not_empty_and_stay_within_the_values(
    method: str, values: np.ndarray
) -> None:
    low, high = ranges({"t": values}, method)["t"]
    assert low <= 0 <= high
    assert low < high
    assert low >= min(values.min(), 0) - 1e-3
    assert high <= max(values.max(), 1) + 1e-3
