"""One calibrator: from the values a tensor takes on calibration data to the range that 8 bits cover.

Theory of operation. The network runs over all calibration data once, and each tensor's range is worked out of
all its values at once; both runtimes are then given the same ranges. (The quantizers' own calibrations
differ: one is a moving average that clips.) Methods:

- ``minmax``: the smallest and the largest value; one outlier spoils it.
- ``percentile``: the range that 99.9 % of the samples keep to on either side, and at least one sample does
  not have to, unless the extremes are near it. Samples are counted, not values: a broken reading is one
  sample, and many values in hidden layers.
- ``entropy``: the clipping whose quantized histogram has the smallest Kullback-Leibler divergence from the
  histogram of the values (Migacz 2017, "8-bit inference with TensorRT").
- ``mse``: the clipping that has the smallest mean squared error after rounding to 256 levels.

All ranges contain 0, which both runtimes must be able to represent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
Values = NDArray[np.float32]

METHODS = ("percentile", "minmax", "entropy", "mse")
PERCENTILE = 99.9
LEVELS = 256
_BINS = 2048
_TINY = 1e-30  # extents that cannot be divided into bins
_SHRINKS = np.linspace(0.02, 1.0, 99)
_WORTH_CUTTING = 2**0.5
_ENOUGH = 100  # samples from which on some may be left out


def ranges(activations: Mapping[str, Values], method: str) -> dict[str, Range]:
    """Return the range of every tensor.

    Parameters
    ----------
    activations : mapping of str to float32 array [n, ...]
        The values of each tensor over n calibration samples.
    method : str
        One of ``METHODS``.
    """
    find = _METHODS[method]
    return {name: _usable(find(values.reshape(len(values), -1))) for name, values in activations.items()}


def minmax(values: Values) -> Range:
    """Return the extremes of [n, size] values."""
    return float(values.min()), float(values.max())


def percentile(values: Values) -> Range:
    """Return the range of [n, size] values that ``PERCENTILE`` % of the samples keep to, on either side."""
    n = len(values)
    dropped = max(math.ceil(n * (100.0 - PERCENTILE) / 100.0), 1) if n >= _ENOUGH else 0
    lows, highs = np.sort(values.min(axis=1)), np.sort(values.max(axis=1))[::-1]
    return _cut(float(lows[0]), float(lows[dropped])), _cut(float(highs[0]), float(highs[dropped]))


def _cut(extreme: float, kept: float) -> float:
    """Return ``kept``, or the extreme where cutting it off would buy less than half a bit."""
    return extreme if abs(extreme) <= _WORTH_CUTTING * abs(kept) else kept


def entropy(values: Values) -> Range:
    """Return the symmetric clipping of smallest divergence; one-sided values stay one-sided."""
    low, high = minmax(values)
    extent = max(-low, high)
    if extent < _TINY:
        return low, high
    counts, edges = np.histogram(np.abs(values), bins=_BINS, range=(0.0, extent))
    best, limit = np.inf, extent
    for stop in range(LEVELS // 2, _BINS + 1, LEVELS // 16):
        divergence = _divergence(counts.astype(np.float64), stop)
        if divergence < best:
            best, limit = divergence, float(edges[stop])
    return max(low, -limit), min(high, limit)


def mse(values: Values) -> Range:
    """Return the clipping of smallest mean squared error after rounding."""
    low, high = _usable(minmax(values))
    flat = values.ravel()
    errors = []
    for shrink in _SHRINKS:
        step = shrink * (high - low) / (LEVELS - 1)
        rounded = (
            np.clip(np.round(flat / step), round(shrink * low / step), round(shrink * high / step)) * step
        )
        errors.append(float(((rounded - flat) ** 2).mean()))
    shrink = float(_SHRINKS[int(np.argmin(errors))])
    return shrink * low, shrink * high


def _divergence(counts: NDArray[np.float64], stop: int) -> float:
    """Return KL(p, q): p the first ``stop`` bins, the rest in the last; q the same in half of LEVELS."""
    kept = counts[:stop].copy()
    p = kept.copy()
    p[-1] += counts[stop:].sum()
    level = np.arange(stop) * (LEVELS // 2) // stop
    sums = np.bincount(level, kept, LEVELS // 2)
    filled = np.bincount(level, kept > 0, LEVELS // 2)
    q = np.where(kept > 0, (sums / np.maximum(filled, 1))[level], 0.0)
    if q.sum() == 0:
        return np.inf
    p, q = p / p.sum(), q / q.sum()
    both = p > 0
    return float((p[both] * np.log(p[both] / np.maximum(q[both], 1e-12))).sum())


def _usable(found: Range) -> Range:
    """Return a range that contains 0 and can be divided into levels."""
    low, high = min(found[0], 0.0), max(found[1], 0.0)
    return (low, high) if high - low > _TINY else (0.0, 1.0)


_METHODS: Mapping[str, Callable[[Values], Range]] = {
    "percentile": percentile,
    "minmax": minmax,
    "entropy": entropy,
    "mse": mse,
}
