"""Faults of a CO2 sensor, simulated on its readings.

``FaultySensor`` is the sensor of N rooms, each of which fails at a tick of its own and stays so. A reading is
a number in ppm, or NaN where it sent nothing. Random numbers come from the seed alone, as many per tick
for every fault and whatever the rooms do, so all controllers get the same errors.

The sizes of the faults are assumptions, not measurements.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

WRONG_SHARE = 0.2
WRONG_PPM = (400.0, 2000.0)
NOISE_PPM = 150.0
DRIFT_PPM_PER_HOUR = 5.0


class FaultySensor:
    """The CO2 sensors of N rooms.

    Parameters
    ----------
    fault : str
        A key of ``FAULTS``.
    since : int array (N,)
        The first tick at which each sensor is broken, 1 or more.
    hours : float
        From one tick to the next.
    seed : int
    """

    def __init__(self, fault: str, since: IntArray, hours: float, seed: int) -> None:
        self._broken = FAULTS[fault][1]
        self._since = since
        self._hours = hours
        self._random = np.random.default_rng(seed)
        self._last: FloatArray = np.full(len(since), np.nan)

    def read(self, ppm: FloatArray, tick: int) -> FloatArray:
        """Return what the sensors send at ``tick``, where the air has ``ppm``: float64 (N,), NaN: nothing.

        Ticks are read in order, each once.
        """
        chance, error = self._random.uniform(size=len(ppm)), self._random.standard_normal(len(ppm))
        broken = tick >= self._since
        self._last = np.where(broken, self._last, ppm)
        elapsed = (tick - self._since) * self._hours
        return np.where(broken, self._broken(ppm, self._last, elapsed, chance, error), ppm)


Broken = Callable[[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray], FloatArray]
"""From ppm, the last good reading, the hours since the fault, a number from 0 to 1 and a normal one."""


def _healthy(ppm: FloatArray, *_: FloatArray) -> FloatArray:
    return ppm


def _erratic(
    ppm: FloatArray, _: FloatArray, __: FloatArray, chance: FloatArray, ___: FloatArray
) -> FloatArray:
    low, high = WRONG_PPM
    return np.where(chance < WRONG_SHARE, low + (high - low) * chance / WRONG_SHARE, ppm)


def _noisy(ppm: FloatArray, _: FloatArray, __: FloatArray, ___: FloatArray, error: FloatArray) -> FloatArray:
    return np.maximum(ppm + NOISE_PPM * error, 0.0)


def _rising(ppm: FloatArray, _: FloatArray, elapsed: FloatArray, *__: FloatArray) -> FloatArray:
    return ppm + DRIFT_PPM_PER_HOUR * elapsed


def _falling(ppm: FloatArray, _: FloatArray, elapsed: FloatArray, *__: FloatArray) -> FloatArray:
    return np.maximum(ppm - DRIFT_PPM_PER_HOUR * elapsed, 0.0)


def _frozen(_: FloatArray, last: FloatArray, *__: FloatArray) -> FloatArray:
    return last


def _silent(ppm: FloatArray, *_: FloatArray) -> FloatArray:
    return np.full_like(ppm, np.nan)


FAULTS: dict[str, tuple[str, Broken]] = {
    "none": ("the sensor is well", _healthy),
    "erratic": ("one reading in five is a random one from 400 to 2000 ppm", _erratic),
    "noisy": ("normal errors with a standard deviation of 150 ppm", _noisy),
    "rising": ("reads 5 ppm more with each hour", _rising),
    "falling": ("reads 5 ppm less with each hour", _falling),
    "frozen": ("repeats its last good reading", _frozen),
    "silent": ("sends nothing", _silent),
}
"""Name to what it does, in words and as a function."""
