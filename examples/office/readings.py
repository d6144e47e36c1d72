"""Reads the office's sensor readings from CSV and refuses a file that isn't one.

The columns are those of ``data/office_occupancy.csv``: ``time`` (ISO 8601, local), ``V1`` temperature, ``V2``
relative humidity, ``V3`` light, ``V4`` CO2. A file is taken whole or not at all: the first cell that is wrong
is named with its line and column. Readings are evenly spaced; the spacing is the tick of everything that is
learned from them.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ConfigError

DATA = Path(__file__).parent / "data" / "office_occupancy.csv"
SENSORS = {"temperature": "V1", "humidity": "V2", "light": "V3", "co2": "V4"}
UNITS = {"temperature": "°C", "humidity": "%", "light": "lux", "co2": "ppm"}
MINIMUM_READINGS = 48

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """Evenly spaced readings of one room.

    Attributes
    ----------
    times : datetime64[s] array (T,)
    values : dict
        Sensor name to float64 array (T,), in the units of ``UNITS``.
    hours : float
        Time from one reading to the next, in hours (the median over the file).
    """

    times: NDArray[np.datetime64]
    values: dict[str, FloatArray]
    hours: float

    def __len__(self) -> int:
        return len(self.times)

    def days(self) -> NDArray[np.datetime64]:
        """Return the calendar day of every reading, datetime64[D] array (T,)."""
        return self.times.astype("datetime64[D]")

    def part(self, chosen: NDArray[np.bool_]) -> Readings:
        """Return the readings where ``chosen`` is true; they must be consecutive."""
        return Readings(self.times[chosen], {k: v[chosen] for k, v in self.values.items()}, self.hours)


def load(path: Path) -> Readings:
    """Read ``path``.

    Raises
    ------
    ConfigError
        The file is missing or malformed: one line that names file, line, column, what was found and expected.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read as a CSV file: {error}") from error
    wanted = ["time", *SENSORS.values()]
    header = rows[0] if rows else []
    for name in wanted:
        if name not in header:
            found = ", ".join(header) or "none"
            raise ConfigError(f"{path}, line 1: found columns {found}; expected {name} among them")
    times: list[np.datetime64] = []
    columns: dict[str, list[float]] = {name: [] for name in SENSORS}
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise ConfigError(f"{path}, line {line}: found {len(row)} cells; expected {len(header)}")
        cells = dict(zip(header, row, strict=True))
        times.append(_time(path, line, cells["time"]))
        if len(times) > 1 and times[-1] <= times[-2]:
            found = cells["time"]
            raise ConfigError(f"{path}, line {line}, column time: found {found}; expected a later one")
        for sensor, column in SENSORS.items():
            columns[sensor].append(_number(path, line, column, cells[column]))
    if len(times) < MINIMUM_READINGS:
        raise ConfigError(f"{path}: found {len(times)} readings; expected {MINIMUM_READINGS} or more")
    stamps = np.array(times, dtype="datetime64[s]")
    hours = float(np.median(np.diff(stamps).astype(np.float64))) / 3600.0
    return Readings(stamps, {name: np.array(column) for name, column in columns.items()}, hours)


def _time(path: Path, line: int, cell: str) -> np.datetime64:
    try:
        return np.datetime64(datetime.fromisoformat(cell).replace(tzinfo=None), "s")
    except ValueError:
        where = f"{path}, line {line}, column time"
        raise ConfigError(f"{where}: found {cell!r}; expected a time like 2015-02-04 17:51:00") from None


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{path}, line {line}, column {column}: found {cell!r}; expected a finite number")
    return value
