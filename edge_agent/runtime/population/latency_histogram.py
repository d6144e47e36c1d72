"""A histogram of durations with 64 logarithmic buckets and fixed size; quantiles are accurate to a sixth."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 1e-5
_BUCKETS_PER_DECADE = 16
_BUCKETS = 112  # up to 100 s
_FEW = 16  # fewer take less time one by one


class Histogram:
    """Durations in seconds, from 10 µs to 100 s; what lies outside counts in the end buckets."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(_BUCKETS, np.int64)
        self.largest = 0.0

    @property
    def count(self) -> int:
        """How many durations were added."""
        return int(self._counts.sum())

    def add(self, seconds: NDArray[np.float64]) -> None:
        """Count durations."""
        if seconds.size <= _FEW:
            for duration in seconds.tolist():
                self.add_one(duration)
            return
        place = np.log10(np.maximum(seconds, _SMALLEST) / _SMALLEST) * _BUCKETS_PER_DECADE
        index = np.minimum(place.astype(np.int64), _BUCKETS - 1)
        self._counts += np.bincount(index, minlength=_BUCKETS)
        self.largest = max(self.largest, float(seconds.max()))

    def add_one(self, seconds: float) -> None:
        """Count a duration."""
        place = int(math.log10(max(seconds, _SMALLEST) / _SMALLEST) * _BUCKETS_PER_DECADE)
        self._counts[min(place, _BUCKETS - 1)] += 1
        self.largest = max(self.largest, seconds)

    def quantile(self, q: float) -> float:
        """Return the upper end of the bucket in which quantile ``q`` lies, seconds; 0 without durations."""
        total = self.count
        if total == 0:
            return 0.0
        bucket = int(np.searchsorted(np.cumsum(self._counts), q * total, side="left"))
        return min(float(_SMALLEST * 10 ** ((bucket + 1) / _BUCKETS_PER_DECADE)), self.largest)
