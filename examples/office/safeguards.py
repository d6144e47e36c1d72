"""Safeguards of a threshold rule against sensors that fail, each a controller around another controller.

An engineer would add them. Limits are in the units of the readings, times in ticks of 16 minutes. None of
them is told that there is a fault, or which one. A CO2 reading is NaN where the sensor sent nothing.
"""

from __future__ import annotations

import numpy as np

from controllers import LOW, OFF, Controller, FloatArray, IntArray, Threshold
from rooms import OBSERVED

CO2, LIGHT = OBSERVED.index("co2"), OBSERVED.index("light")
LIT_LUX = 300.0
JUMP_PPM = 350.0
SAME_TICKS = 4
NIGHT_HOURS = (2, 5)
ACCURACY_PPM = 50.0
MEAN_WEIGHT = 0.5


class LastReading:
    """Gives ``rule`` the last reading for as long as there is none: what a rule without safeguards does."""

    def __init__(self, rule: Controller) -> None:
        self._rule = rule
        self._last: FloatArray | None = None

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """See ``Controller``."""
        ppm = observations[:, CO2]
        self._last = ppm if self._last is None else np.where(np.isnan(ppm), self._last, ppm)
        return self._rule.decide(_with_ppm(observations, self._last), now)


class JumpFilter:
    """Accepts a reading within ``JUMP_PPM`` of the last accepted one, or of the reading before it.

    A reading that is neither is ignored: ``rule`` gets the last accepted one.
    """

    def __init__(self, rule: Controller) -> None:
        self._rule = rule
        self._accepted: FloatArray | None = None
        self._before: FloatArray = np.empty(0)

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """See ``Controller``."""
        ppm = observations[:, CO2]
        if self._accepted is None:
            self._accepted = self._before = ppm
        near = (abs(ppm - self._accepted) <= JUMP_PPM) | (abs(ppm - self._before) <= JUMP_PPM)
        self._accepted, self._before = np.where(near, ppm, self._accepted), ppm
        return self._rule.decide(_with_ppm(observations, self._accepted), now)


class MeanFilter:
    """Gives ``rule`` an exponential mean of the readings, in which the newest has ``MEAN_WEIGHT``."""

    def __init__(self, rule: Controller) -> None:
        self._rule = rule
        self._mean: FloatArray | None = None

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """See ``Controller``."""
        ppm = observations[:, CO2]
        if self._mean is None:
            self._mean = ppm
        step = np.where(np.isnan(ppm), 0.0, MEAN_WEIGHT * (ppm - self._mean))
        self._mean = self._mean + step
        return self._rule.decide(_with_ppm(observations, self._mean), now)


class NightBaseline:
    """Shifts readings by what the median of the last night differs from that of the first one.

    A difference of ``ACCURACY_PPM`` or less shifts nothing. Nobody is in at night.
    """

    def __init__(self, rule: Controller) -> None:
        self._rule = rule
        self._night: list[FloatArray] = []
        self._first: FloatArray | None = None
        self._shift: FloatArray | float = 0.0

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """See ``Controller``."""
        begin, end = NIGHT_HOURS
        hour = (now - now.astype("datetime64[D]")) / np.timedelta64(1, "h")
        if begin <= hour < end:
            self._night.append(observations[:, CO2])
        elif self._night:
            median = np.median(self._night, axis=0)
            self._first = median if self._first is None else self._first
            shift = self._first - median
            self._shift = np.where(abs(shift) > ACCURACY_PPM, shift, 0.0)
            self._night = []
        return self._rule.decide(_with_ppm(observations, observations[:, CO2] + self._shift), now)


class LightGate:
    """Off where it is darker than ``LIT_LUX``: nobody is in."""

    def __init__(self, rule: Controller) -> None:
        self._rule = rule

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """See ``Controller``."""
        return np.where(observations[:, LIGHT] >= LIT_LUX, self._rule.decide(observations, now), OFF)


class Fallback:
    """Low while it is light where the last ``SAME_TICKS`` readings are missing or equal; else ``rule``."""

    def __init__(self, rule: Controller) -> None:
        self._rule = rule
        self._last: FloatArray | None = None
        self._same: IntArray = np.empty(0, np.int64)

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """See ``Controller``."""
        ppm = observations[:, CO2]
        if self._last is None:
            self._last, self._same = ppm, np.zeros(len(ppm), np.int64)
        else:
            self._same = np.where(np.isnan(ppm) | (ppm == self._last), self._same + 1, 0)
            self._last = np.where(np.isnan(ppm), self._last, ppm)
        instead = np.where(observations[:, LIGHT] >= LIT_LUX, LOW, OFF)
        return np.where(self._same >= SAME_TICKS, instead, self._rule.decide(observations, now))


def with_jump_filter(low: float, high: float) -> Controller:
    """Return the two-stage rule with these limits and all safeguards except the mean filter."""
    return Fallback(LightGate(JumpFilter(NightBaseline(Threshold(low, high)))))


def with_mean_filter(low: float, high: float) -> Controller:
    """Return the two-stage rule with these limits and all safeguards except the jump filter."""
    return Fallback(LightGate(MeanFilter(NightBaseline(Threshold(low, high)))))


def _with_ppm(observations: FloatArray, ppm: FloatArray) -> FloatArray:
    replaced = observations.copy()
    replaced[:, CO2] = ppm
    return replaced
