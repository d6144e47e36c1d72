"""Telemetry within a bandwidth budget: counters as deltas, health on change, samples as columns.

Theory of operation. `Telemetry.due` is asked in every round; every ``seconds`` it returns a body: only the
counters that changed since the one before (``delta``), and everything on each connect and every ``keyframe``
bodies, so that a reader that missed some is right again soon. Health is a further table of figures and texts
of which only changes are sent. Samples that were added meanwhile travel along (`protocol.sample_buffer`, 10
bytes each beside the names). A bucket fills with ``budget`` bytes per second; a body is paid for with its
size, and while the bucket is in debt the next one waits: the interval stretches, the counters don't lose
anything since they are cumulative, and samples are thinned to what the budget carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from edge_agent.protocol.sample_buffer import SampleBuffer

Counters = Mapping[str, Mapping[str, int | float]]
Health = Mapping[str, int | float | str]


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
    samples : SampleBuffer, optional
        What waits for the next body.
    """

    def __init__(
        self,
        seconds: float = 5.0,
        budget: float = 0.0,
        keyframe: int = 60,
        samples: SampleBuffer | None = None,
    ) -> None:
        self.seconds = seconds
        self.budget = budget
        self.samples = samples
        self._keyframe = keyframe
        self._next = 0.0
        self._until_keyframe = 0
        self._last: dict[str, dict[str, int | float]] = {}
        self._health: dict[str, int | float | str] = {}
        self._rss = 0

    @property
    def deadline(self) -> float:
        """When the next body is due, monotonic seconds."""
        return self._next

    def online(self) -> None:
        """Make the next body a complete one, and have it at once."""
        self._until_keyframe = 0
        self._next = 0.0

    def due(
        self, counters: Counters, rss: int, now: float, health: Health | None = None
    ) -> dict[str, Any] | None:
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
        if health is not None:
            told = {} if complete else self._health
            if news := {key: value for key, value in health.items() if told.get(key) != value}:
                body["health"] = news
            self._health = dict(health)
        if self.samples:
            body["samples"] = self.samples.take()
        self._until_keyframe = self._keyframe if complete else self._until_keyframe - 1
        self._last = {name: dict(values) for name, values in counters.items()}
        self._rss = rss
        self._pay(len(msgpack.packb(body)), now)
        return body

    def _pay(self, size: int, now: float) -> None:
        wait = size / self.budget if self.budget > 0 else 0.0
        self._next = now + max(self.seconds, wait)
        if self.samples is None:
            return
        if wait > self.seconds:
            self.samples.slow_down()
        elif wait < self.seconds / 2:
            self.samples.speed_up()
