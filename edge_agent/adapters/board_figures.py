"""Figures of the board and of the edge-agent processes for diagnosis, read with psutil.

Theory of operation. The daemon itself reads a few numbers from /proc and /sys (``board_sensors``,
``process``): psutil would cost it 0.8 MB of resident memory. Commands are short-lived processes, so they
import it. A figure that the board does not provide, or that the user may not read, is None or left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

PROGRAM = "edge-agent"


def board(folder: Path) -> dict[str, Any]:
    """Return figures of processors, memory, temperatures, and of the file system that holds ``folder``.

    Memory and disks are in bytes, frequencies in MHz, temperatures in degrees Celsius, ``booted`` in seconds
    since 1970, ``load`` the mean length of the run queue over 1, 5 and 15 minutes.
    """
    frequency = psutil.cpu_freq()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return {
        "processors": psutil.cpu_count(),
        "frequency_mhz": None if frequency is None else frequency._asdict(),
        "load": psutil.getloadavg(),
        "memory_bytes": psutil.virtual_memory()._asdict(),
        "swap_bytes": psutil.swap_memory()._asdict(),
        "disk_bytes": {"path": str(existing)} | psutil.disk_usage(str(existing))._asdict(),
        "temperatures_c": {
            chip: [sensor.current for sensor in sensors]
            for chip, sensors in psutil.sensors_temperatures().items()
        },
        "booted": psutil.boot_time(),
    }


def processes() -> Iterator[dict[str, Any]]:
    """Yield figures of each process of edge-agent but this one; memory in bytes, times in seconds."""
    for process in psutil.process_iter():
        try:
            with process.oneshot():
                words = process.cmdline()
                if process.pid == os.getpid() or not _is_ours(words):
                    continue
                times, memory = process.cpu_times(), process.memory_info()
                found = {
                    "pid": process.pid,
                    "command": _subcommand(words),
                    "state": process.status(),
                    "started": process.create_time(),
                    "rss_bytes": memory.rss,
                    "threads": process.num_threads(),
                    "user_s": times.user,
                    "system_s": times.system,
                    "context_switches": process.num_ctx_switches()._asdict(),
                }
            found["open_files"] = _open_files(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended meanwhile, or belongs to somebody else
        yield found


def _is_ours(words: list[str]) -> bool:
    """Whether a command line is the program's: ``edge-agent ...`` or ``python -m edge_agent ...``."""
    return any(Path(word).name == PROGRAM for word in words[:2]) or words[1:3] == ["-m", "edge_agent"]


def _subcommand(words: list[str]) -> str:
    """Return the first word after the program's name; options and paths are nobody's business."""
    start = next(i for i, word in enumerate(words) if Path(word).name in (PROGRAM, "edge_agent"))
    return next((word for word in words[start + 1 :] if not word.startswith("-")), "")


def _open_files(process: psutil.Process) -> int | None:
    try:
        return process.num_fds()
    except psutil.AccessDenied:
        return None
