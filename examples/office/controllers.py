"""The rules that buildings run today, to compare agents with: observations in, levels out, like the agents.

The fixed schedule needs no sensor: high on working days from 8 to 18. A threshold rule needs one, for CO2.
The plain one switches the fan on and off, with hysteresis so that it doesn't flutter. The two-stage one has a
limit for each level; since a fan at low takes a seventh of the power for three eighths of the air, it is much
harder to beat.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rooms import OBSERVED

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

OFF, LOW, HIGH = 0, 1, 2


class Controller(Protocol):
    """What sets the ventilation of N rooms."""

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """Return a level for each room.

        Parameters
        ----------
        observations : float64 array (N, 5)
            Physical units, in the order of ``rooms.OBSERVED``.
        now : datetime64
            Local wall-clock time.

        Returns
        -------
        int array (N,)
            0 off, 1 low, 2 high.
        """
        ...


class Schedule:
    """``level`` on working days from ``begin`` to ``end`` o'clock, else off."""

    def __init__(self, begin: int = 8, end: int = 18, level: int = HIGH) -> None:
        self.begin, self.end, self.level = begin, end, level

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """See ``Controller``."""
        hour = (now - now.astype("datetime64[D]")) / np.timedelta64(1, "h")
        works = bool(np.is_busday(now.astype("datetime64[D]"))) and self.begin <= hour < self.end
        return np.full(len(observations), self.level if works else OFF, np.int64)


class OnOff:
    """High above ``on`` ppm, off below ``off`` ppm, in between as before."""

    def __init__(self, off: float = 800.0, on: float = 1000.0) -> None:
        self.off, self.on = off, on

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """See ``Controller``. Whether it runs is read from the observed ventilation."""
        co2, level = (observations[:, OBSERVED.index(name)] for name in ("co2", "ventilation"))
        return np.where(co2 > np.where(level > OFF, self.off, self.on), HIGH, OFF)


class Threshold:
    """Low above ``low`` ppm, high above ``high`` ppm, each left again ``hysteresis`` ppm lower."""

    def __init__(self, low: float = 800.0, high: float = 1000.0, hysteresis: float = 100.0) -> None:
        self.limits = np.array([low, high])
        self.hysteresis = hysteresis

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """See ``Controller``. The stage that runs is read from the observed ventilation."""
        co2 = observations[:, OBSERVED.index("co2"), None]
        running = observations[:, OBSERVED.index("ventilation"), None] > np.arange(len(self.limits))
        return np.asarray((co2 > self.limits - self.hysteresis * running).sum(axis=1))
