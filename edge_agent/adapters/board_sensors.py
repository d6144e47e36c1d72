"""Reads the board's temperature, throttling, pressure, battery and this process's processor share from Linux.

Every function returns None if the file cannot be read: no such sensor, PSI compiled out, no battery, no file
descriptor left. ``root`` is ``/`` except in tests. Sources: Documentation/driver-api/thermal/sysfs-api.rst,
Documentation/accounting/psi.rst, Documentation/ABI/testing/sysfs-class-power; Raspberry Pi documentation,
``vcgencmd get_throttled`` (bits 0 to 3: under-voltage, frequency capped, throttled, soft limit, now).
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path("/")
_NOW_BITS = 0b1111
_TIMEX_BYTES = 512  # more than any struct timex
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


def temperature_c(root: Path = ROOT) -> float | None:
    """Return the hottest thermal zone, degrees Celsius."""
    found = [
        value / 1000.0
        for path in _paths(root / "sys/class/thermal", "thermal_zone*/temp")
        if (value := _number(path)) is not None and -40_000 < value < 200_000
    ]
    return max(found, default=None)


def throttled(root: Path = ROOT) -> bool | None:
    """Return whether the firmware holds the clock or the voltage back now (Raspberry Pi only)."""
    bits = throttled_bits(root)
    return None if bits is None else bool(bits & _NOW_BITS)


def throttled_bits(root: Path = ROOT) -> int | None:
    """Return the firmware's word: bits 0 to 3 now, 16 to 19 since boot."""
    path = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    try:
        return int(path.read_text().strip(), 16)
    except (OSError, ValueError):
        return None


class OwnShare:
    """This process's share of all cores' time between two calls.

    Parameters
    ----------
    monotonic, used : callable
        Seconds that passed, and seconds of processor time that this process took.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
        cores: int = os.cpu_count() or 1,
    ) -> None:
        self._monotonic, self._used, self._cores = monotonic, used, cores
        self._last = monotonic(), used()

    def __call__(self) -> float | None:
        """Return the share since the last call, 0 to 1; None if no time has passed."""
        now = self._monotonic(), self._used()
        passed, used = now[0] - self._last[0], now[1] - self._last[1]
        self._last = now
        return used / passed / self._cores if passed > 0.0 else None


def processor_pressure(root: Path = ROOT) -> float | None:
    """Return the share of the last 10 s in which some task waited for a processor, percent."""
    return _pressure("cpu", root)


def memory_pressure(root: Path = ROOT) -> float | None:
    """Return the share of the last 10 s in which some task waited for memory, percent."""
    return _pressure("memory", root)


def _pressure(resource: str, root: Path) -> float | None:
    for word in _words(root / "proc/pressure" / resource)[:2]:
        if word.startswith("avg10="):
            return float(word.removeprefix("avg10="))
    return None


def battery(root: Path = ROOT) -> float | None:
    """Return the charge (0 to 1) of the emptiest battery that is discharging; None on mains."""
    charges = [
        capacity / 100.0
        for supply in _paths(root / "sys/class/power_supply", "*")
        if _words(supply / "type") == ["Battery"] and _words(supply / "status") == ["Discharging"]
        if (capacity := _number(supply / "capacity")) is not None
    ]
    return min(charges, default=None)


def clock_state() -> int:
    """Return what adjtimex(2) says of the kernel's clock; -1: nothing."""
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))


def clock_synchronised(state: int | None = None) -> bool:
    """Return whether the kernel takes its clock for synchronised; ``state`` is that of `clock_state`."""
    return (clock_state() if state is None else state) not in (-1, _TIME_ERROR)


def disk_free(folder: Path) -> int | None:
    """Return the bytes that a user may still write where ``folder`` is; None if it is not there."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def memory_cgroup(root: Path = ROOT) -> bool:
    """Return whether the kernel's memory controller is on."""
    return "memory" in _words(root / "sys/fs/cgroup/cgroup.controllers")


def cgroup_limit(root: Path = ROOT) -> int | None:
    """Return the bytes that this process's cgroup may use; None: no limit, or no controller."""
    own = next((line.partition("::")[2] for line in _words(root / "proc/self/cgroup") if "0::" in line), "/")
    value = _number(root / "sys/fs/cgroup" / own.lstrip("/") / "memory.max")
    return None if value is None else int(value)


def _paths(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _number(path: Path) -> float | None:
    words = _words(path)
    try:
        return float(words[0]) if words else None
    except ValueError:
        return None
