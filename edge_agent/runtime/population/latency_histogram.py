"""A histogram of durations with 64 logarithmic buckets and fixed size; quantiles are accurate to a sixth."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 1e-5
_BUCKETS_PER_DECADE = 16
_BUCKETS = 112  # up to 100 s
_FEW = 16  # fewer take less time one by one
_ENDS = [_SMALLEST * 10 ** ((bucket + 1) / _BUCKETS_PER_DECADE) for bucket in range(_BUCKETS)]


class Histogram:
    """Durations in seconds, from 10 µs to 100 s; what lies outside counts in the end buckets."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.largest = 0.0

    @property
    def count(self) -> int:
        """How many durations were added."""
        return sum(self._counts)

    def add(self, seconds: NDArray[np.float64]) -> None:
        """Count durations."""
        if seconds.size <= _FEW:
            for duration in seconds.tolist():
                self.add_one(duration)
            return
        index = np.searchsorted(_ENDS[:-1], seconds, side="right")
        found = np.bincount(index, minlength=_BUCKETS).tolist()
        self._counts = [before + new for before, new in zip(self._counts, found, strict=True)]
        self.largest = max(self.largest, float(seconds.max()))

    def add_one(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[bisect_right(_ENDS, seconds, 0, _BUCKETS - 1)] += 1
        if seconds > self.largest:
            self.largest = seconds

    def quantile(self, q: float) -> float:
        """Return the upper end of the bucket in which quantile ``q`` lies, seconds; 0 without durations."""
        total = self.count
        if total == 0:
            return 0.0
        bucket = int(np.searchsorted(np.cumsum(self._counts), q * total, side="left"))
        return min(_ENDS[bucket], self.largest)
