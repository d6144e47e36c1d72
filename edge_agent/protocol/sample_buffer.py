"""Samples that wait for the next telemetry message: columns of fixed length, thinned by rounds.

Theory of operation. What is measured at one moment is a round. The columns are planned and never grow: when a
round does not fit, every second round in them goes, and of later rounds as well every second one is kept, so
that what remains covers the whole time evenly. A longer outage of the sender makes the series coarser, not
longer. `take` empties the columns into the body's field ``samples`` (`wire.bodies.TELEMETRY`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.memory.arena import Column

MAX_STRIDE = 1024
_MAX_DT_MS = 2**32 - 1


class SampleBuffer:
    """Samples of named series.

    Parameters
    ----------
    names : sequence of str
        The series' names, at most 65,536.
    arrays : mapping of str to ndarray
        The columns of `columns`.
    """

    def __init__(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.thinned = 0
        """Samples that were given up since the start."""
        self._names = names
        self._series = arrays["sample_series"]
        self._times = arrays["sample_times"]
        self._values = arrays["sample_values"]
        self._count = 0
        self._stride = 1
        self._round = 0
        self._round_t = math.nan

    @staticmethod
    def columns(samples: int) -> tuple[Column, ...]:
        """Return what it needs of the arena to hold so many samples."""
        return (
            Column("sample_series", (samples,), np.uint16),
            Column("sample_times", (samples,), np.float64),
            Column("sample_values", (samples,), np.float32),
        )

    def __len__(self) -> int:
        return self._count

    def add(self, series: NDArray[Any], values: NDArray[np.float32], t: float) -> None:
        """Add a value for each of ``series`` (n,), made at Unix time ``t``; NaN is none.

        Calls with the same ``t`` that follow each other are one round.
        """
        known = np.isfinite(values)
        count = int(np.count_nonzero(known))
        if t != self._round_t:
            self._round, self._round_t = self._round + 1, t
        if not count:
            return
        while self._count + count > len(self._series) and self._halve():
            pass
        if self._round % self._stride or self._count + count > len(self._series):
            self.thinned += count
            return
        place = slice(self._count, self._count + count)
        self._series[place], self._times[place], self._values[place] = series[known], t, values[known]
        self._count += count

    def slow_down(self) -> None:
        """Keep half as many rounds from now on."""
        self._stride = min(2 * self._stride, MAX_STRIDE)

    def speed_up(self) -> None:
        """Keep twice as many rounds from now on, at most all."""
        self._stride = max(self._stride // 2, 1)

    def take(self) -> dict[str, Any]:
        """Return all samples as columns and begin anew; the names are those of the series that occur."""
        times = self._times[: self._count]
        used, series = np.unique(self._series[: self._count], return_inverse=True)
        first = float(times.min())
        columns = {
            "names": [self._names[int(number)] for number in used],
            "t0": first,
            "series": series.astype("<u2").tobytes(),
            "dt": np.minimum(np.rint((times - first) * 1e3), _MAX_DT_MS).astype("<u4").tobytes(),
            "values": self._values[: self._count].astype("<f4").tobytes(),
        }
        self._count = 0
        return columns

    def _halve(self) -> bool:
        """Give every second round up; return whether there was one."""
        times = self._times[: self._count]
        rounds = np.cumsum(np.diff(times, prepend=times[:1]) != 0.0)
        keep = np.flatnonzero(rounds % 2 == 0)
        gone = self._count - len(keep)
        if not gone:
            return False
        for column in (self._series, self._times, self._values):
            column[: len(keep)] = column[keep]
        self.thinned += gone
        self._count = len(keep)
        self.slow_down()
        return True
