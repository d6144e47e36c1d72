"""Telemetry within a bandwidth budget: counters as deltas, samples as columns.

Theory of operation. `Telemetry.due` is asked in every round; every ``seconds`` it returns a body: only the
counters that changed since the one before (``delta``), and everything on each connect and every ``keyframe``
bodies, so that a reader that missed some is right again soon. Samples that were added meanwhile travel along
as columns (14 bytes each before compression). A bucket fills with ``budget`` bytes per second; a body is paid
for with its size, and while the bucket is in debt the next one waits: the interval stretches, the counters
don't lose anything since they are cumulative, and samples are thinned to what the budget carries.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgpack

Counters = Mapping[str, Mapping[str, int | float]]


class Telemetry:
    """Decides when to send which part of the counters.

    Parameters
    ----------
    seconds : float
        Interval between bodies; can be changed at run time.
    budget : float
        Bytes per second over a long time, before compression; 0 is no limit. Can be changed at run time.
    keyframe : int
        Every so many bodies, all counters are sent.
    samples : int
        The most samples that wait for the next body; more are counted in ``thinned``.
    """

    def __init__(
        self, seconds: float = 5.0, budget: float = 0.0, keyframe: int = 60, samples: int = 20_000
    ) -> None:
        self.seconds = seconds
        self.budget = budget
        self.thinned = 0
        self._keyframe = keyframe
        self._limit = samples
        self._next = 0.0
        self._until_keyframe = 0
        self._last: dict[str, dict[str, int | float]] = {}
        self._rss = 0
        self._names: dict[str, int] = {}
        self._samples: list[tuple[int, float, float]] = []
        self._stride = 1
        self._offered = 0

    @property
    def deadline(self) -> float:
        """When the next body is due, monotonic seconds."""
        return self._next

    def online(self) -> None:
        """Make the next body a complete one, and have it at once."""
        self._until_keyframe = 0
        self._next = 0.0

    def sample(self, name: str, value: float, t: float) -> None:
        """Add one measurement, made at Unix time ``t``."""
        self._offered += 1
        if self._offered % self._stride:
            self.thinned += 1
            return
        if len(self._samples) >= self._limit:  # keep every second one, and from now on too
            self.thinned += len(self._samples) // 2
            self._samples = self._samples[::2]
            self._stride *= 2
        self._samples.append((self._names.setdefault(name, len(self._names)), t, value))

    def due(self, counters: Counters, rss: int, now: float) -> dict[str, Any] | None:
        """Return the body to send now, or None if it is not time."""
        if now < self._next:
            return None
        body: dict[str, Any] = {"populations": {}}
        complete = self._until_keyframe == 0
        for name, values in counters.items():
            before = {} if complete else self._last.get(name, {})
            changed = {key: value for key, value in values.items() if before.get(key) != value}
            if changed or complete:
                body["populations"][name] = changed
        if not complete:
            body["delta"] = True
        if complete or rss != self._rss:
            body["rss"] = rss
        if self._samples:
            body["samples"] = self._columns()
        self._until_keyframe = self._keyframe if complete else self._until_keyframe - 1
        self._last = {name: dict(values) for name, values in counters.items()}
        self._rss = rss
        self._pay(len(msgpack.packb(body)), now)
        return body

    def _pay(self, size: int, now: float) -> None:
        wait = size / self.budget if self.budget > 0 else 0.0
        self._next = now + max(self.seconds, wait)
        if wait > self.seconds:
            self._stride = min(2 * self._stride, 1024)
        elif self._stride > 1 and wait < self.seconds / 2:
            self._stride //= 2

    def _columns(self) -> dict[str, Any]:
        samples, self._samples = self._samples, []
        names = list(self._names)
        self._names = {}
        first = min(t for _, t, _ in samples)
        count = len(samples)
        return {
            "names": names,
            "t0": first,
            "series": struct.pack(f"<{count}H", *(index for index, _, _ in samples)),
            "dt": struct.pack(
                f"<{count}I", *(min(round((t - first) * 1e3), 2**32 - 1) for _, t, _ in samples)
            ),
            "values": struct.pack(f"<{count}f", *(value for _, _, value in samples)),
        }
