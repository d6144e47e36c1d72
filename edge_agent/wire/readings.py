"""The file of recorded readings: what ``edge-agent record`` writes and ``edge-convert fit`` reads.

Theory of operation. A file is an ``.npz`` with two lists of events in the order of their times: readings of
modalities, and actions of controls. An entry names its agent, and its modality or control, by a number; the
names are in ``meta``. A reading has the number that was measured and the bin that the device made of it; one
of the two may be missing. An action stands until the next one of its agent and control. Files are read
without unpickling and checked whole; every refusal names the file, the array, what was found and what was
expected.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.atomic_file import replaced
from edge_agent.errors import ConfigError, PlatformError
from edge_agent.wire import npz

FORMAT = 1
NOT_OBSERVED = -1
MAX_EVENTS = 10_000_000
MAX_AGENTS = 100_000
MAX_NAMES = 4096
MAX_META = 16 * 1024 * 1024
MAX_TIME = 253402300800.0  # the year 10000
Clock = Literal["utc", "ticks"]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class ArrayField(NamedTuple):
    """One array of the file: its dtype, and what it contains."""

    dtype: str
    text: str


FIELDS: Mapping[str, ArrayField] = {
    "format": ArrayField("int64", f"scalar, {FORMAT}"),
    "meta": ArrayField("text", "JSON: agents, modalities, controls, tick_seconds, clock"),
    "reading_time": ArrayField("float64", "[R] seconds since 1970 UTC, or since the first tick; ascending"),
    "reading_agent": ArrayField("int32", "[R] number of the agent in meta"),
    "reading_modality": ArrayField("int16", "[R] number of the modality in meta"),
    "reading_value": ArrayField(
        "float64", "[R] number in the modality's unit, or number of the label; NaN: not known"
    ),
    "reading_bin": ArrayField("int16", "[R] bin of the device's model; -1: no model, or not observed"),
    "action_time": ArrayField("float64", "[K] as reading_time; the action stands from then on"),
    "action_agent": ArrayField("int32", "[K] number of the agent in meta"),
    "action_control": ArrayField("int16", "[K] number of the control in meta"),
    "action_number": ArrayField("int16", "[K] number of the value in the control's values"),
}
"""The arrays of a file; R readings, K actions."""


@dataclass(frozen=True, slots=True)
class ModalityNames:
    """A modality: its name and unit, the edges of its bins, the labels of its values; each may be empty."""

    name: str
    unit: str = ""
    edges: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ControlNames:
    """A control and the values of its actions, as text."""

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Readings:
    """What was recorded.

    Attributes
    ----------
    agents, modalities, controls
        What the numbers in the arrays stand for.
    time, agent, modality, value, bin : float64, int64, int64, float64, int64 arrays (R,)
        Readings; see ``FIELDS``. Neither value nor bin: the sensor was lost at that time.
    action_time, action_agent, action_control, action : float64 and int64 arrays (K,)
        Actions; see ``FIELDS``.
    tick_seconds : float, optional
        Of the model that made the bins.
    clock : str
        ``utc``: times count from 1970; ``ticks``: from the first tick of a recording without a clock.
    """

    agents: tuple[str, ...]
    modalities: tuple[ModalityNames, ...]
    controls: tuple[ControlNames, ...]
    time: FloatArray
    agent: IntArray
    modality: IntArray
    value: FloatArray
    bin: IntArray
    action_time: FloatArray
    action_agent: IntArray
    action_control: IntArray
    action: IntArray
    tick_seconds: float | None = None
    clock: Clock = "utc"


def write(path: Path, readings: Readings) -> None:
    """Write ``path`` as a whole; equal readings give an equal file.

    Raises
    ------
    PlatformError
        The disk refuses; a file that was there before is as it was.
    """
    data = npz.write(_arrays(readings))
    try:
        with replaced(path) as file:
            file.write(data)
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror}") from error


def read(path: Path) -> Readings:
    """Read ``path``.

    Raises
    ------
    ConfigError
        It is not such a file: one line that names file and array, what was found and what was expected.
    """
    arrays = npz.read(path, ConfigError)
    for name in FIELDS:
        if name not in arrays:
            found = ", ".join(sorted(arrays)[:12])
            raise ConfigError(f"{path}: found arrays {found}; expected {name} among them")
    version = arrays["format"]
    if version.ndim or version.dtype.kind not in "iu" or int(version) != FORMAT:
        raise ConfigError(f"{path}: format: found {str(version)[:40]}; expected {FORMAT}")
    meta = _meta(path, arrays["meta"])
    agents = _texts(path, "agents", meta.get("agents"), MAX_AGENTS)
    modalities = tuple(_modality(path, n, entry) for n, entry in enumerate(_list(path, meta, "modalities")))
    controls = tuple(_control(path, n, entry) for n, entry in enumerate(_list(path, meta, "controls")))
    for what, names in (("modalities", modalities), ("controls", controls)):
        if len({entry.name for entry in names}) != len(names):
            raise ConfigError(f"{path}: meta.{what}: found a name twice; expected different names")
    count, acted = (_length(path, arrays[f"{what}_time"], f"{what}_time") for what in ("reading", "action"))
    value = _floats(path, arrays, "reading_value", count)
    if np.isinf(value).any():
        raise ConfigError(f"{path}: reading_value: found an infinite number; expected numbers or NaN")
    readings = Readings(
        agents,
        modalities,
        controls,
        _times(path, arrays, "reading_time", count),
        _numbers(path, arrays, "reading_agent", count, 0, len(agents)),
        _numbers(path, arrays, "reading_modality", count, 0, len(modalities)),
        value,
        _numbers(path, arrays, "reading_bin", count, NOT_OBSERVED, np.iinfo(np.int16).max),
        _times(path, arrays, "action_time", acted),
        _numbers(path, arrays, "action_agent", acted, 0, len(agents)),
        _numbers(path, arrays, "action_control", acted, 0, len(controls)),
        _numbers(path, arrays, "action_number", acted, 0, np.iinfo(np.int16).max),
        _tick_seconds(path, meta.get("tick_seconds")),
        _clock(path, meta.get("clock")),
    )
    _check_entries(path, readings)
    return readings


def _arrays(readings: Readings) -> dict[str, NDArray[Any]]:
    order = np.argsort(readings.time, kind="stable")
    acted = np.argsort(readings.action_time, kind="stable")
    meta = {
        "agents": list(readings.agents),
        "modalities": [
            {"name": m.name, "unit": m.unit, "edges": list(m.edges), "labels": list(m.labels)}
            for m in readings.modalities
        ],
        "controls": [{"name": c.name, "values": list(c.values)} for c in readings.controls],
        "tick_seconds": readings.tick_seconds,
        "clock": readings.clock,
    }
    columns: dict[str, tuple[NDArray[Any], NDArray[np.intp]]] = {
        "reading_time": (readings.time, order),
        "reading_agent": (readings.agent, order),
        "reading_modality": (readings.modality, order),
        "reading_value": (readings.value, order),
        "reading_bin": (readings.bin, order),
        "action_time": (readings.action_time, acted),
        "action_agent": (readings.action_agent, acted),
        "action_control": (readings.action_control, acted),
        "action_number": (readings.action, acted),
    }
    arrays: dict[str, NDArray[Any]] = {
        name: column[chosen].astype(FIELDS[name].dtype) for name, (column, chosen) in columns.items()
    }
    text = json.dumps(meta, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return arrays | {"format": np.array(FORMAT), "meta": np.array(text)}


def _meta(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    if array.ndim or array.dtype.kind != "U" or array.nbytes > MAX_META:
        raise ConfigError(f"{path}: meta: found {array.dtype} {array.shape}; expected one text of JSON")
    try:
        meta = json.loads(str(array))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: meta: found no JSON ({error}); expected an object") from error
    if not isinstance(meta, dict):
        raise ConfigError(f"{path}: meta: found {type(meta).__name__}; expected an object")
    return meta


def _list(path: Path, meta: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    found = meta.get(key)
    if not isinstance(found, list) or len(found) > MAX_NAMES or not all(isinstance(e, dict) for e in found):
        raise ConfigError(f"{path}: meta.{key}: expected a list of at most {MAX_NAMES} objects")
    return found


def _texts(path: Path, key: str, found: Any, most: int) -> tuple[str, ...]:
    if not isinstance(found, list) or len(found) > most or not all(isinstance(t, str) for t in found):
        raise ConfigError(f"{path}: meta.{key}: expected a list of at most {most} texts")
    if len(set(found)) != len(found):
        raise ConfigError(f"{path}: meta.{key}: found a text twice; expected different texts")
    return tuple(found)


def _modality(path: Path, number: int, entry: Mapping[str, Any]) -> ModalityNames:
    key = f"modalities[{number}]"
    name, unit = entry.get("name"), entry.get("unit", "")
    if not isinstance(name, str) or not isinstance(unit, str):
        raise ConfigError(f"{path}: meta.{key}: found {str(entry)[:60]}; expected name and unit as text")
    edges = entry.get("edges", [])
    good = isinstance(edges, list) and len(edges) <= np.iinfo(np.int16).max
    good = good and all(isinstance(e, int | float) and math.isfinite(e) for e in edges)
    if not good or any(b <= a for a, b in itertools.pairwise(edges)):
        raise ConfigError(f"{path}: meta.{key}.edges: expected ascending numbers")
    labels = _texts(path, f"{key}.labels", entry.get("labels", []), np.iinfo(np.int16).max)
    return ModalityNames(name, unit, tuple(map(float, edges)), labels)


def _control(path: Path, number: int, entry: Mapping[str, Any]) -> ControlNames:
    key = f"controls[{number}]"
    name = entry.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"{path}: meta.{key}.name: found {str(name)[:60]}; expected text")
    return ControlNames(name, _texts(path, f"{key}.values", entry.get("values"), np.iinfo(np.int16).max))


def _tick_seconds(path: Path, found: Any) -> float | None:
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise ConfigError(f"{path}: meta.tick_seconds: found {str(found)[:40]}; expected seconds above 0")
    return float(found)


def _clock(path: Path, found: Any) -> Clock:
    if found == "utc":
        return "utc"
    if found == "ticks":
        return "ticks"
    raise ConfigError(f"{path}: meta.clock: found {str(found)[:40]}; expected utc or ticks")


def _length(path: Path, array: NDArray[Any], name: str) -> int:
    if array.ndim != 1 or len(array) > MAX_EVENTS:
        raise ConfigError(
            f"{path}: {name}: found shape {array.shape}; expected one axis of at most {MAX_EVENTS}"
        )
    return len(array)


def _floats(path: Path, arrays: npz.Arrays, name: str, count: int) -> FloatArray:
    array = arrays[name]
    if array.dtype.kind != "f" or array.shape != (count,):
        raise ConfigError(f"{path}: {name}: found {array.dtype} {array.shape}; expected float64 ({count},)")
    return array.astype(np.float64)


def _times(path: Path, arrays: npz.Arrays, name: str, count: int) -> FloatArray:
    times = _floats(path, arrays, name, count)
    bad = np.flatnonzero(~(np.abs(times) < MAX_TIME))
    if bad.size:
        raise ConfigError(f"{path}: {name}[{bad[0]}]: found {times[bad[0]]}; expected seconds since 1970")
    back = np.flatnonzero(np.diff(times) < 0)
    if back.size:
        raise ConfigError(f"{path}: {name}[{back[0] + 1}]: found an earlier time; expected ascending times")
    return times


def _numbers(path: Path, arrays: npz.Arrays, name: str, count: int, least: int, end: int) -> IntArray:
    array = arrays[name]
    if array.dtype.kind not in "iu" or array.shape != (count,):
        wanted = FIELDS[name].dtype
        raise ConfigError(f"{path}: {name}: found {array.dtype} {array.shape}; expected {wanted} ({count},)")
    bad = np.flatnonzero((array < least) | (array >= end))
    if bad.size:
        raise ConfigError(f"{path}: {name}[{bad[0]}]: found {array[bad[0]]}; expected {least} to {end - 1}")
    return array.astype(np.int64)


def _check_entries(path: Path, readings: Readings) -> None:
    """Refuse bins, labels and actions that their modality or control does not have."""
    for number, modality in enumerate(readings.modalities):
        own = readings.modality == number
        if modality.edges and (readings.bin[own] > len(modality.edges)).any():
            expected = f"at most {len(modality.edges)}, which the edges of {modality.name} make"
            raise ConfigError(f"{path}: reading_bin: found {readings.bin[own].max()}; expected {expected}")
        if modality.labels and not modality.edges and (readings.bin[own] >= len(modality.labels)).any():
            expected = f"at most {len(modality.labels) - 1}, the last label of {modality.name}"
            raise ConfigError(f"{path}: reading_bin: found {readings.bin[own].max()}; expected {expected}")
    for number, control in enumerate(readings.controls):
        own = readings.action_control == number
        if (readings.action[own] >= len(control.values)).any():
            expected = f"at most {len(control.values) - 1}, the last value of {control.name}"
            raise ConfigError(
                f"{path}: action_number: found {readings.action[own].max()}; expected {expected}"
            )
