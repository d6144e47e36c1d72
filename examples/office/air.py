"""Physics of the room's air: a well-mixed zone with one CO2 balance, the fan, and the limits of comfort.

In a zone that is well mixed, CO2 ``c`` (ppm) follows ``dc/dt = source - rate * (c - outdoor)`` with the
emission ``source`` in ppm/h and the air-change ``rate`` in 1/h. While both hold still the solution is exact,
an exponential towards ``outdoor + source / rate``; ``mix`` is that solution, so a long step equals many short
ones.

The readings give ``c`` but neither of the other two. ``leakage_rate`` fits the room's own air change to dark
hours of falling CO2 (nobody breathes in them). ``explain`` then turns each step between two readings into a
pair (source, rate) that reproduces it exactly: a rise, or a fall slower than leakage, is emission at the
leakage rate; a faster fall is an aired room, no emission at a higher rate.

Figures that are not measured but assumed: outdoor air 400 ppm (the global mean of 2015), the fan's flows and
its power.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

OUTDOOR_PPM = 400.0
# Categories I, II and III of EN 16798-1:2019 allow 550, 800 and 1350 ppm above outdoor air. The demo's limit
# is the older round number, Pettenkofer's 1000 ppm: between I (950 ppm here) and II (1200 ppm).
CATEGORY_PPM = {"I": OUTDOOR_PPM + 550.0, "II": OUTDOOR_PPM + 800.0, "III": OUTDOOR_PPM + 1350.0}
LIMIT_PPM = 1000.0

# An office of 72 m3: 1.5 and 4 air changes are 30 and 80 l/s. At 1.25 kW/(m3/s), the bound of class SFP 2 of
# EN 16798-3, the high level takes 100 W. Power falls with the square of the flow: between the fan law's cube
# and a fixed resistance.
VENTILATION = ("off", "low", "high")
AIR_CHANGES = np.array([0.0, 1.5, 4.0])
VOLUME_M3 = 72.0
FAN_WATTS = 100.0 * (AIR_CHANGES / AIR_CHANGES[-1]) ** 2

DARK_LUX = 1.0
# Below this many ppm over outdoor air a fall drowns in the sensor's noise.
DECAY_PPM = 100.0


def mix(co2: FloatArray, source: FloatArray | float, rate: FloatArray | float, hours: float) -> FloatArray:
    """CO2 after ``hours`` at a constant source and air-change rate.

    Parameters
    ----------
    co2 : float64 array
        ppm at the start.
    source : float64, broadcastable
        Emission, ppm/h.
    rate : float64, broadcastable
        Air changes per hour, above 0.
    hours : float

    Returns
    -------
    float64 array
        ppm at the end.
    """
    kept = np.exp(-np.asarray(rate) * hours)
    return np.asarray(OUTDOOR_PPM + (co2 - OUTDOOR_PPM) * kept + np.asarray(source) / rate * (1.0 - kept))


def leakage_rate(co2: FloatArray, light: FloatArray, hours: float) -> float:
    """Fit the room's own air changes per hour to the dark readings in which CO2 falls.

    Least squares through the origin on the excess over outdoor air, so that high readings outweigh noise.

    Parameters
    ----------
    co2, light : float64 array (T,)
        ppm and lux, one every ``hours``.

    Returns
    -------
    float
        1/h. Half an air change where the readings hold no such fall.
    """
    excess = co2 - OUTDOOR_PPM
    before, after = excess[:-1], excess[1:]
    dark = (light[:-1] < DARK_LUX) & (light[1:] < DARK_LUX) & (before > DECAY_PPM) & (after < before)
    if not dark.any():
        return 0.5
    kept = float(before[dark] @ after[dark] / (before[dark] @ before[dark]))
    return -float(np.log(kept)) / hours


def explain(co2: FloatArray, leakage: float, hours: float) -> tuple[FloatArray, FloatArray]:
    """Turn readings into the emission and air-change rate of every step between them.

    Parameters
    ----------
    co2 : float64 array (T,)
        ppm, above outdoor air.
    leakage : float
        Air changes per hour of the closed room.

    Returns
    -------
    source : float64 array (T - 1,)
        ppm/h, never negative.
    rate : float64 array (T - 1,)
        1/h, never below ``leakage``. ``mix(co2[:-1], source, rate, hours)`` is ``co2[1:]``.
    """
    excess = np.maximum(co2 - OUTDOOR_PPM, 1.0)
    before, after = excess[:-1], excess[1:]
    kept = np.exp(-leakage * hours)
    source = np.maximum(after - before * kept, 0.0) * leakage / (1.0 - kept)
    rate = np.where(source > 0.0, leakage, np.maximum(-np.log(after / before) / hours, leakage))
    return source, rate
