"""Simulated rooms with ventilation: the office's week, replayed with a controlled fan.

Measured: the course of light, temperature and humidity, and, through the readings of CO2, when and how
strongly people emitted it and how fast the office aired by itself (``air.explain``). Simulated: the fan,
which the measured office did not have, and its effect on CO2 (``air.mix``). With the fan off, a room at
scale 1 returns the measured CO2 exactly. Not modelled: the fan's effect on temperature and humidity, the
heat it costs, doors, and people who open a window because the air is bad. Occupancy is not measured either:
365 lux and above counts as occupied. Only lamps reach this value; sunlight on the empty weekend stayed below
it.

Each room differs from the office by three draws from the seed: its people come up to 96 minutes earlier or
later, there are half to one and a half times as many of them, and its volume is 0.7 to 1.5 times the
office's. The fan is sized to the volume, so its levels mean the same air changes in every room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from air import (
    AIR_CHANGES,
    CATEGORY_PPM,
    FAN_WATTS,
    LIMIT_PPM,
    OUTDOOR_PPM,
    VENTILATION,
    VOLUME_M3,
    explain,
    leakage_rate,
    mix,
)
from readings import Readings

OBSERVED = ("co2", "light", "temperature", "humidity", "ventilation")
OCCUPIED_LUX = 365.0
SHIFT_TICKS = 6
PEOPLE = (0.5, 1.5)
VOLUME = (0.7, 1.5)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """What a controller achieved.

    Attributes
    ----------
    comfort : float
        Share of occupied time with CO2 at or below ``air.LIMIT_PPM``.
    category : dict
        The same for the limits of EN 16798-1's categories I, II and III.
    mean_ppm : float
        Mean CO2 while occupied.
    kwh : float
        Electric energy of the fan, kWh per room.
    """

    comfort: float
    category: dict[str, float]
    mean_ppm: float
    kwh: float


class Rooms:
    """``size`` rooms in step.

    Parameters
    ----------
    readings : Readings
    size : int
    seed : int
        The rooms' differences are drawn from it and from nothing else.
    alike : bool
        Make every room the measured office itself.
    copies : int
        How often each room exists: rooms i, i + ``size``, ... are the same room, with fans of their own.
    """

    def __init__(
        self, readings: Readings, size: int, seed: int = 0, *, alike: bool = False, copies: int = 1
    ) -> None:
        random = np.random.default_rng(seed)
        self.size, self.hours = size * copies, readings.hours
        shift = random.integers(-SHIFT_TICKS, SHIFT_TICKS + 1, size)
        people, volume = random.uniform(*PEOPLE, size), random.uniform(*VOLUME, size)
        if alike:
            shift, people, volume = np.zeros(size, int), np.ones(size), np.ones(size)
        shift, people, volume = np.tile(shift, copies), np.tile(people, copies), np.tile(volume, copies)
        co2 = readings.values["co2"]
        self.leakage = leakage_rate(co2, readings.values["light"], readings.hours)
        self._source, self._rate = explain(co2, self.leakage, readings.hours)
        self._crowd, self._volume = people / volume, volume
        # The clock of all rooms runs from SHIFT_TICKS after the first reading to SHIFT_TICKS before the last.
        self._begin = SHIFT_TICKS - shift
        self._readings = readings
        self.times = readings.times[SHIFT_TICKS : len(readings) - SHIFT_TICKS]
        self.tick = 0
        self.co2: FloatArray = OUTDOOR_PPM + (co2[self._begin] - OUTDOOR_PPM) * self._crowd
        self.level: IntArray = np.zeros(self.size, np.int64)
        self._sums: list[tuple[float, ...]] = []

    @property
    def over(self) -> bool:
        """Whether the last reading is reached, so that ``act`` has no more."""
        return self.tick == len(self.times) - 1

    @property
    def now(self) -> np.datetime64:
        """Wall-clock time of the current observations."""
        return np.datetime64(self.times[self.tick])

    def occupied(self) -> NDArray[np.bool_]:
        """Whether anyone is in, bool (N,). The score knows it; controllers are not told."""
        return self._replay("light") >= OCCUPIED_LUX

    def observe(self) -> FloatArray:
        """Return the current observations, float64 (N, 5), in the order of ``OBSERVED``.

        Units: ppm, lux, °C, % and the level of ventilation (0 off, 1 low, 2 high) that was last set.
        """
        replayed = [self._replay(name) for name in OBSERVED[1:4]]
        return np.stack([self.co2, *replayed, self.level.astype(np.float64)], axis=1)

    def act(self, levels: IntArray) -> None:
        """Set the ventilation, let one tick pass, and keep the score.

        Parameters
        ----------
        levels : int array (N,)
            0 off, 1 low, 2 high.

        Raises
        ------
        ValueError
            The shape or a level is wrong, or the week is over.
        """
        levels = np.asarray(levels)
        if levels.shape != (self.size,) or not np.isin(levels, range(len(VENTILATION))).all():
            raise ValueError(
                f"levels: found {levels!r}; expected {self.size} integers from 0 to {len(VENTILATION) - 1}"
            )
        if self.over:
            raise ValueError(f"tick {self.tick}: the readings end here")
        step = self.tick + self._begin
        rate = self._rate[step] + AIR_CHANGES[levels]
        self.co2 = mix(self.co2, self._source[step] * self._crowd, rate, self.hours)
        self.level = levels.astype(np.int64)
        self.tick += 1
        ppm = self.co2[self.occupied()]
        limits = (LIMIT_PPM, *CATEGORY_PPM.values())
        energy = float((FAN_WATTS[levels] * self._volume).sum()) * self.hours / 1000.0
        self._sums.append((len(ppm), ppm.sum(), energy, *((ppm <= limit).sum() for limit in limits)))

    def score(self, since: np.datetime64 | None = None) -> Score:
        """Return the score of all ticks that passed, or of those after ``since``."""
        sums = np.array(self._sums).reshape(-1, 4 + len(CATEGORY_PPM))
        if since is not None:
            sums = sums[self.times[1 : self.tick + 1] > since]
        occupied, ppm, energy, *good = sums.sum(axis=0).tolist()
        share = [count / max(occupied, 1.0) for count in good]
        category = dict(zip(CATEGORY_PPM, share[1:], strict=True))
        return Score(share[0], category, ppm / max(occupied, 1.0), energy / self.size)

    @property
    def volume_m3(self) -> FloatArray:
        """Volumes of the rooms, m3, float64 (N,)."""
        return VOLUME_M3 * self._volume

    def _replay(self, name: str) -> FloatArray:
        return np.asarray(self._readings.values[name][self.tick + self._begin])
