"""Checks of the board for ``edge-agent doctor``: common problems, each with a suggested fix.

Every check tests one property and returns one `Finding`; nothing is changed. ``root`` is ``/`` except in
tests.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.adapters import board_sensors
from edge_agent.adapters.login import Login
from edge_agent.adapters.process import user_name
from edge_agent.errors import ConfigError
from edge_agent.wire.signatures import check_private

FREE_BYTES = 64 * 1024 * 1024
FREE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``good``, what was found, and what to do if it is not good."""

    what: str
    good: bool
    found: str
    remedy: str = ""


def board(root: Path = board_sensors.ROOT) -> Iterator[Finding]:
    """Look at kernel, clock, power and heat."""
    on = board_sensors.memory_cgroup(root)
    yield Finding(
        "memory cgroup",
        on,
        "on" if on else "off, so MemoryMax= does nothing",
        "append 'cgroup_enable=memory cgroup_memory=1' to /boot/firmware/cmdline.txt and reboot",
    )
    pressure = board_sensors.memory_pressure(root)
    yield Finding(
        "memory pressure (PSI)",
        pressure is not None,
        "off" if pressure is None else f"{pressure:g} % in the last 10 s",
        "append 'psi=1' to /boot/firmware/cmdline.txt and reboot",
    )
    bits = board_sensors.throttled_bits(root)
    if bits is not None:
        yield Finding(
            "power and heat",
            bits == 0,
            "never throttled"
            if bits == 0
            else f"get_throttled is {bits:#x} (bits 0-3 now, 16-19 since boot)",
            "use the board's own power supply, add a heat sink",
        )
    temperature = board_sensors.temperature_c(root)
    if temperature is not None:
        yield Finding("temperature", temperature < 75.0, f"{temperature:.0f} °C", "add a heat sink or a fan")
    yield clock(board_sensors.clock_state())


def clock(state: int) -> Finding:
    """Judge the return value of adjtimex(2)."""
    good = board_sensors.clock_synchronised(state)
    return Finding(
        "clock",
        good,
        "synchronised" if good else "not synchronised, so expiry times and histories are off",
        "sudo timedatectl set-ntp true",
    )


def disk(path: Path) -> Finding:
    """Look at the room where state is kept."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    try:
        room = os.statvfs(there)
    except OSError as error:
        return Finding(f"disk of {path}", False, str(error.strerror), "make it readable")
    free, whole = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    if room.f_flag & os.ST_RDONLY:
        return Finding(f"disk of {path}", False, "read-only", "remount it writable, or set device.state_dir")
    good = free >= FREE_BYTES and (whole == 0 or free / whole >= FREE_SHARE)
    return Finding(
        f"disk of {path}",
        good,
        f"{free // 2**20} MiB free",
        "free some space: sudo journalctl --vacuum-size=50M",
    )


def owners(folder: Path) -> Iterator[Finding]:
    """Look for files in the state directory that belong to another user than the directory."""
    try:
        own = folder.stat().st_uid
        others = [path for path in sorted(folder.iterdir()) if path.lstat().st_uid != own]
    except OSError:  # not made yet, or gone meanwhile
        return
    for path in others:
        yield Finding(
            str(path),
            False,
            f"belongs to user {user_name(path.lstat().st_uid)}, the directory to {user_name(own)}",
            f"sudo chown {user_name(own)} {path}",
        )


def budget(needed: int, root: Path = board_sensors.ROOT) -> Finding:
    """Compare the daemon's budget (bytes) with the memory that is there and that its cgroup allows."""
    words = (root / "proc/meminfo").read_text().split()
    available = int(words[words.index("MemAvailable:") + 1]) * 1024
    limit = board_sensors.cgroup_limit(root)
    room = available if limit is None else min(available, limit)
    return Finding(
        "memory",
        needed <= room,
        f"{room // 2**20} MiB available, the budget is {needed // 2**20} MiB",
        "lower device.memory_mb, choose a smaller profile, or stop other programs",
    )


def login(where: str, found: Login) -> Finding:
    """Judge a login at the broker ``where``."""
    if not found.reason:
        return Finding("broker", True, f"{where}: logged in (MQTT {'5' if found.version == 5 else '3.1.1'})")
    if "login refused" in found.reason:
        remedy = "give the broker this device's user and password, or correct broker.username"
    elif "certificate" in found.reason:
        remedy = "renew the certificate, correct broker.ca_file, and set the clock"
    else:
        remedy = "check broker.host, broker.port, the cable and the firewall"
    return Finding("broker", False, found.reason, remedy)


def secrets(paths: Sequence[Path]) -> Iterator[Finding]:
    """Look at who may read keys and passwords."""
    for path in paths:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as error:
            yield Finding(str(path), False, str(error.strerror), "name the right file, or make it readable")
            continue
        try:
            check_private(path)
            good = True
        except ConfigError:
            good = False
        yield Finding(str(path), good, f"mode {mode:04o}", f"chmod 600 {path}")
