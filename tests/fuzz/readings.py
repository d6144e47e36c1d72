"""Recorded readings: an ``.npz`` of ``edge-agent record``, its arrays as text, and tables as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edge_agent.errors import ConfigError
from edge_agent.wire import npz, readings, readings_csv
from edge_agent.wire.readings import FIELDS, ControlNames, ModalityNames, Readings
from tests.fuzz.files import written

MOST = 10_000
ELSEWHERE = b"""\
Ctime,agent,co2,light,action:fan
2026-01-05T08:00:00+01:00,a,417.5,dark,off
1767600060,a,,lit,on
"""
COLUMNS = readings_csv.Columns(
    {"co2": "co2", "light": "light"}, {"fan": "action:fan"}, frozenset({"light", "action:fan"})
)


def decode(data: bytes) -> None:
    """After ``C`` a table, after ``J`` the arrays of a file as JSON; otherwise a file as it is."""
    if data[:1] == b"C":
        with written(data[1:], "fuzzed.csv") as path:
            _write(readings_csv.read(path, COLUMNS))
        return
    if data[:1] == b"J":
        data = _packed(data[1:])
    with written(data, "fuzzed.npz") as path:
        _write(readings.read(path))


def _write(found: Readings) -> None:
    """Write what was read, in both forms."""
    with TemporaryDirectory() as folder:
        readings.write(Path(folder, "again.npz"), found)
        readings_csv.write(Path(folder, "again.csv"), found)


def _packed(text: bytes) -> bytes:
    """Make a file of the arrays in a JSON object, whose ``meta`` is an object."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError("not JSON") from error
    if not isinstance(given, dict):
        raise ConfigError("no object")
    return npz.write({str(name): _array(str(name), value) for name, value in given.items()})


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    dtype = FIELDS[name].dtype if name in FIELDS else "float64"
    if dtype == "text":
        return np.array(value if isinstance(value, str) else json.dumps(value))
    try:
        out = np.array(value, dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"{name}: no numbers") from error
    if out.size > MOST:
        raise ConfigError(f"{name}: too many numbers")
    return out


def _recorded() -> Readings:
    modalities = (ModalityNames("co2", "ppm", (400.0, 800.0)), ModalityNames("light", labels=("dark", "lit")))
    return Readings(
        ("a", "b"),
        modalities,
        (ControlNames("fan", ("off", "on")),),
        np.array([0.0, 0.0, 60.0]),
        np.array([0, 1, 0]),
        np.array([0, 1, 0]),
        np.array([417.0, 1.0, np.nan]),
        np.array([1, 1, -1]),
        np.array([5.0]),
        np.array([1]),
        np.array([0]),
        np.array([1]),
        60.0,
        "ticks",
    )


def _as_json() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "seed.npz")
        readings.write(path, _recorded())
        arrays = npz.read(path, ConfigError)
    text: dict[str, Any] = {name: array.tolist() for name, array in arrays.items()}
    text["meta"] = json.loads(text["meta"])
    return b"J" + json.dumps(text).encode()


def seed() -> bytes:
    """Return one input that is right."""
    return _as_json()


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    with TemporaryDirectory() as folder:
        path = Path(folder, "seed.npz")
        readings.write(path, _recorded())
        yield path.read_bytes()
        readings_csv.write(Path(folder, "seed.csv"), _recorded())
        yield b"C" + Path(folder, "seed.csv").read_bytes()
    yield ELSEWHERE
