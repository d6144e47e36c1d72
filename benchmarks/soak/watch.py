"""What they cost while they are abused: a sample a second and daemon, from /proc and its own status, and of
the hub's processes from /proc alone.

A process that was killed begins a new *life*: its counters start anew, so everything is reckoned life by
life. When a sample comes late the machine stood still for everybody (or was busy with something else), and
what was missed meanwhile is told apart.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.soak.lab import DEVICES, Lab

INTERVAL_S = 1.0
LATE_S = 0.3
POINT_S = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One daemon at one moment; bytes, monotonic seconds; ``late``: the sampler itself was held up.

    ``descriptors`` has what each open descriptor refers to, sorted: a path, or a kind such as ``socket``.
    """

    t: float
    pid: int
    rss: int
    descriptors: tuple[str, ...]
    written: int
    late: bool
    status: dict[str, Any]

    @property
    def rooms(self) -> dict[str, Any]:
        """The population's counters."""
        found: dict[str, Any] = self.status["populations"]["rooms"]
        return found


class Watch(threading.Thread):
    """Samples until `stop`; ``samples`` holds them by device, ``hub`` by process of the hub."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(daemon=True)
        self.samples: dict[str, list[Sample]] = {name: [] for name in DEVICES}
        self.hub: dict[str, list[Sample]] = {name: [] for name in lab.hub.processes.running}
        self.late_s = 0.0
        self._lab = lab
        self._over = threading.Event()

    def run(self) -> None:
        """Take samples."""
        due, was_late = time.monotonic(), False
        while not self._over.wait(max(0.0, due - time.monotonic())):
            behind = time.monotonic() - due
            late = behind > LATE_S
            self.late_s += behind if late else 0.0
            for name in DEVICES:
                sample = self._sample(name, late or was_late)  # what was missed is counted a moment later
                if sample is not None:
                    self.samples[name].append(sample)
            for name, process in self._lab.hub.processes.running.items():
                sample = self._of_process(process.pid, late or was_late, {})
                if sample is not None:
                    self.hub[name].append(sample)
            was_late = late
            due = max(due + INTERVAL_S, time.monotonic() + INTERVAL_S / 2)

    def stop(self) -> None:
        """Take no more."""
        self._over.set()
        self.join()

    def _sample(self, name: str, late: bool) -> Sample | None:
        process = self._lab.daemons[name]
        status = self._lab.status(name)
        return None if status is None else self._of_process(process.pid, late, status)

    @staticmethod
    def _of_process(pid: int, late: bool, status: dict[str, Any]) -> Sample | None:
        about = Path(f"/proc/{pid}")
        try:
            rss = int((about / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            descriptors = tuple(sorted(_target(entry) for entry in (about / "fd").iterdir()))
            io = (about / "io").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it was killed meanwhile
            return None
        written = int(io.split("\nwrite_bytes: ")[1].split("\n")[0])
        return Sample(time.monotonic(), pid, rss, descriptors, written, late, status)


def _target(entry: Path) -> str:
    """Return the path that a descriptor refers to, or its kind (``socket:[81]`` is a socket)."""
    try:
        return str(entry.readlink()).split(":[", 1)[0]
    except FileNotFoundError:  # it was closed meanwhile
        return "closed"


def curve(samples: Sequence[Sample], since: float) -> list[list[Sequence[float]]]:
    """Return minutes after ``since`` and resident MB, a piece a life, a point every `POINT_S`."""
    thin = round(POINT_S / INTERVAL_S)
    return [
        [(round((s.t - since) / 60, 2), round(s.rss / 1e6, 2)) for s in life[::thin]]
        for life in lives(samples)
    ]


def lives(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Return the samples of each process by itself."""
    out: list[list[Sample]] = []
    for sample in samples:
        if not out or out[-1][-1].pid != sample.pid:
            out.append([])
        out[-1].append(sample)
    return out
