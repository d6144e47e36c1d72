"""Sources of readings besides MQTT: Linux files, a recorded trace, users' plug-ins.

Theory of operation. ``read`` returns new readings as (agent, number) pairs and never blocks. Reading a file
of hwmon, iio, thermal or a one-wire thermometer may take almost a second, so each set of files has its own
thread that reads them at the population's rate into a dictionary, from which the loop reads. A file that
cannot be read is counted and gives no reading.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.errors import ConfigError
from edge_agent.wire import npz

MAX_BYTES = 64
Readings = Sequence[tuple[int, float]]


class FileSource:
    """One file per agent, each with one number, read every ``period`` seconds."""

    bins = False

    def __init__(self, paths: Sequence[Path], period: float) -> None:
        self._paths = paths
        self._period = period
        self._fresh: dict[int, float] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self.errors = 0

    def read(self) -> Readings:
        """Return what was read since the last call."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="files", daemon=True)
            self._thread.start()
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        return list(fresh.items())

    def close(self) -> None:
        """End the thread."""
        self._end.set()

    def read_files(self) -> None:
        """Read every file once; what the thread does each period."""
        for agent, path in enumerate(self._paths):
            try:
                with path.open("rb") as file:
                    number = float(file.read(MAX_BYTES))
            except (OSError, ValueError):
                self.errors += 1
                continue
            with self._lock:
                self._fresh[agent] = number

    def _run(self) -> None:
        while True:
            self.read_files()
            if self._end.wait(self._period):
                return


class TraceSource:
    """One column of a recorded trace, ``obs`` [T, M] or [T, N, M]: a row a call, then nothing more.

    Integers are bins (-1: not observed), floats are readings (NaN: not observed).

    Raises
    ------
    ConfigError
        The file has no such array, or not for so many agents.
    """

    def __init__(self, path: Path, column: int, agents: int) -> None:
        arrays = npz.read(path, ConfigError)
        obs = arrays.get("obs")
        if obs is None or obs.dtype.kind not in "iuf":
            found = "none" if obs is None else str(obs.dtype)
            raise ConfigError(f"{path}: obs: found {found}, expected an array of integers or floats")
        if obs.ndim == 2:
            obs = np.repeat(obs[:, np.newaxis], agents, axis=1)
        if obs.ndim != 3 or obs.shape[1] != agents or column >= obs.shape[2]:
            raise ConfigError(f"{path}: obs is {obs.shape}, expected [T, {agents}, more than {column}]")
        self._rows: np.ndarray[Any, Any] = obs[:, :, column].copy()
        self._next = 0
        self.bins = obs.dtype.kind in "iu"
        self.errors = 0

    def read(self) -> Readings:
        """Return the next row."""
        if self._next >= len(self._rows):
            return []
        row = self._rows[self._next]
        self._next += 1
        known = row >= 0 if self.bins else np.isfinite(row)
        return [(int(agent), row[agent].item()) for agent in np.flatnonzero(known)]

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def plugin(group: str, name: str) -> Any:
    """Return what the entry point ``name`` of ``group`` names.

    Raises
    ------
    ConfigError
        There is none, or it cannot be imported.
    """
    found = {point.name: point for point in entry_points(group=group)}
    if name not in found:
        raise ConfigError(f"{group}: found {name!r}, expected one of {', '.join(found) or 'none installed'}")
    try:
        return found[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{group}: {name} cannot be loaded ({error})") from error
