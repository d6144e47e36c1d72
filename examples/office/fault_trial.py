"""What controllers make of a CO2 sensor that fails in the office's week.

The sensor fails at one of 55 times, every second hour from Wednesday evening to Monday morning, and stays so
to the end of the readings. All times are tried, each in the same rooms (copies of them, with fans of their
own). Every controller gets the same rooms and the same errors. Light, temperature, humidity and the level of
the fan are observed correctly, and no controller is told of the fault.

The agents run from the 8-bit bundle in the engine, as a daemon runs them: a sensor that is silent is not
observed, and every reading that arrives counts. The rules of the demo get the last reading for as long as
there is none. The rules with a filter are described in ``safeguards``.

The score is of the time from the fault on. For each of the times, over all rooms: the share of occupied time
above ``air.LIMIT_PPM``, and the fan's energy. Of the 55, median, least and most are given, for all days and
for those that the model was not fitted to. ``fault_report`` prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent import digitize
from air import FAN_WATTS, LIMIT_PPM, VOLUME_M3
from controllers import Controller, FloatArray, IntArray, OnOff, Schedule, Threshold
from edge_agent import Model, Population
from evaluate import HELD_OUT_DAYS
from readings import Readings
from rooms import Rooms
from safeguards import CO2, LastReading, with_jump_filter, with_mean_filter
from sensor_faults import FAULTS, FaultySensor

ROOMS = 20
SEED = 7
FIRST, LAST = np.datetime64("2015-02-04T20:00:00"), np.datetime64("2015-02-09T08:00:00")
EVERY = np.timedelta64(2, "h")
LIMITS, LOWER_LIMITS = (800.0, 1000.0), (750.0, 950.0)


class BundleAgents:
    """The agents of a bundle as a controller of ``size`` rooms."""

    def __init__(self, model: Model, size: int) -> None:
        self._meta = model.meta
        self._agents = Population(model, size)

    def decide(self, observations: FloatArray, now: np.datetime64) -> IntArray:
        """See ``Controller``. NaN is not observed."""
        return self._agents.step(digitize(self._meta, observations))[:, 0]


CONTROLLERS: dict[str, Callable[[Model, int], Controller]] = {
    "agents": BundleAgents,
    "schedule": lambda _, __: Schedule(),
    "on-off": lambda _, __: LastReading(OnOff()),
    "threshold": lambda _, __: LastReading(Threshold()),
    "jump filter": lambda _, __: with_jump_filter(*LIMITS),
    "mean filter": lambda _, __: with_mean_filter(*LIMITS),
    "jump filter, 750/950 ppm": lambda _, __: with_jump_filter(*LOWER_LIMITS),
    "mean filter, 750/950 ppm": lambda _, __: with_mean_filter(*LOWER_LIMITS),
}
"""The demo's controllers, and the threshold rule with safeguards."""


class Course(NamedTuple):
    """What happened in R rooms for each of H faults: the state at the end of each of T ticks.

    Attributes
    ----------
    occupied : bool array (T, H, R)
    ppm : float64 array (T, H, R)
    watts : float64 array (T, H, R)
        Of the fan, during the tick.
    """

    occupied: NDArray[np.bool_]
    ppm: FloatArray
    watts: FloatArray


@dataclass(frozen=True)
class Spread:
    """Median, least and most over the faults."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Result:
    """How a controller did with a fault.

    Attributes
    ----------
    above : Spread
        Share of occupied time above the limit.
    wh_per_day : Spread
        Energy of the fan, Wh per room and day.
    """

    above: Spread
    wh_per_day: Spread


Results = dict[str, dict[str, dict[str, Result]]]
"""Fault to controller to ``{"week": Result, "held_out": Result}``."""


def fault_ticks(times: NDArray[np.datetime64]) -> IntArray:
    """Return the first tick at or after each of the times from ``FIRST`` to ``LAST``, int64 (H,)."""
    return np.searchsorted(times, np.arange(FIRST, LAST + EVERY, EVERY)).astype(np.int64)


def run(controller: Controller, sensor: FaultySensor, rooms: Rooms, faults: int) -> Course:
    """Let ``controller`` run ``rooms`` to the end of their week, with ``sensor`` for their CO2."""
    occupied, ppm, watts = [], [], []
    while not rooms.over:
        observations = rooms.observe()
        observations[:, CO2] = sensor.read(observations[:, CO2], rooms.tick)
        levels = controller.decide(observations, rooms.now)
        rooms.act(levels)
        occupied.append(rooms.occupied())
        ppm.append(rooms.co2)
        watts.append(FAN_WATTS[levels] * rooms.volume_m3 / VOLUME_M3)
    shape = (len(ppm), faults, -1)
    return Course(*(np.array(part).reshape(shape) for part in (occupied, ppm, watts)))


def result(course: Course, begin: IntArray) -> Result:
    """Score ``course``; ``begin``, int (H,), is the tick from which each of the faults counts."""
    counted = (np.arange(len(course.ppm))[:, None] >= begin)[:, :, None]
    occupied = course.occupied & counted
    above = (occupied & (course.ppm > LIMIT_PPM)).sum(axis=(0, 2)) / occupied.sum(axis=(0, 2))
    watts = (course.watts * counted).sum(axis=0).mean(axis=1) / counted.sum(axis=(0, 2))
    return Result(_spread(above), _spread(24.0 * watts))


def _spread(values: FloatArray) -> Spread:
    return Spread(float(np.median(values)), float(values.min()), float(values.max()))


def compare(model: Model, readings: Readings, rooms: int = ROOMS) -> Results:
    """Try every fault with every controller, in ``rooms`` rooms for each fault time."""
    times = Rooms(readings, 1).times
    begin = fault_ticks(times)
    held_out = np.searchsorted(times, np.unique(readings.days())[-HELD_OUT_DAYS])
    results: Results = {}
    for fault in FAULTS:
        results[fault] = {}
        for name, make in CONTROLLERS.items():
            copies = Rooms(readings, rooms, SEED, copies=len(begin))
            sensor = FaultySensor(fault, np.repeat(begin, rooms), readings.hours, SEED)
            course = run(make(model, copies.size), sensor, copies, len(begin))
            results[fault][name] = {
                "week": result(course, begin),
                "held_out": result(course, np.maximum(begin, held_out)),
            }
    return results
