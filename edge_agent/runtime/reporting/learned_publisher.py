"""Sends what populations counted while they learned to the hub, through the outbox.

Theory of operation. An epoch is what was counted since the one before. It is taken out of the learner, the
checkpoint that knows of it is written, and only then do its messages go into the outbox. A daemon that is
killed before the checkpoint is on the disk has taken nothing out; one that is killed after it, before the
outbox has stored the messages, loses the epoch. None is counted twice. While the disk refuses, messages wait
here. The population itself goes on with all that it counted.

An epoch's number is the Unix second in which it was taken out, or one more than the last one's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edge_agent.protocol.outbox import STATE
from edge_agent.protocol.ports import Clock
from edge_agent.runtime.population import models
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.populations import Populations

RETRY_S = 60.0


class LearnedOutbox(Protocol):
    """Where messages wait until the hub has them."""

    def append(self, body: Mapping[str, Any], t: float, now: float, priority: int) -> None:
        """Take a body in."""


class LearnedPublisher:
    """Sends on a timer per population, and when it is asked to.

    Parameters
    ----------
    populations : Populations
        Who learns.
    outbox : LearnedOutbox
        Where messages go.
    save : callable
        Writes the checkpoint of all populations; returns whether it is on the disk.
    clock : Clock
        Time.
    """

    def __init__(
        self, populations: Populations, outbox: LearnedOutbox, save: Callable[[], bool], clock: Clock
    ) -> None:
        self.epochs = 0
        """Epochs that were given to the outbox since the start."""
        self._populations = populations
        self._outbox = outbox
        self._save = save
        self._clock = clock
        self._due: dict[str, float] = {}
        self._held: list[dict[str, Any]] = []
        self._retry = math.inf
        self._last = 0

    def start(self) -> None:
        """Nothing to do before the first turn."""

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds."""
        return min([self._retry, *self._due.values()])

    def run_once(self) -> None:
        """Send what is due."""
        now = self._clock.monotonic()
        groups = self._senders()
        self._due = {name: self._due.get(name, now + g.config.learn_send_s) for name, g in groups.items()}
        due = [name for name, deadline in self._due.items() if now >= deadline]
        for name in due:
            self._take(name, groups[name])
        if due or now >= self._retry:
            self._flush()

    def send(self, name: str | None = None) -> dict[str, int]:
        """Send now what populations that may send have counted; return the messages of each."""
        out = {}
        for found, group in self._senders().items():
            if name in (None, found):
                out[found] = self._take(found, group)
        if out:
            self._flush()
        return out

    def stop(self) -> None:
        """Nothing to say at the end."""

    def status(self) -> dict[str, int]:
        """Return counters in plain types."""
        return {"epochs": self.epochs, "waiting": len(self._held)}

    def _senders(self) -> dict[str, Group]:
        groups = self._populations.groups
        return {name: group for name, group in groups.items() if group.config.learn_send_s}

    def _take(self, name: str, group: Group) -> int:
        """Take an epoch out of a population; return its messages."""
        self._due[name] = self._clock.monotonic() + group.config.learn_send_s
        found = models.take_epoch(group.model_port)
        if found is None or not found.updates:
            return 0
        from edge_agent.wire import learned  # few devices learn

        self._last = max(self._last + 1, int(self._clock.time()), 1)
        bodies = learned.to_bodies(found, name, group.digest, self._last)
        self._held += bodies
        self.epochs += 1
        return len(bodies)

    def _flush(self) -> None:
        """Give what waits to the outbox, once a checkpoint knows that it was taken out."""
        now = self._clock.monotonic()
        self._retry = math.inf
        if not self._held:
            return
        if not self._save():
            self._retry = now + RETRY_S
            return
        for body in self._held:
            self._outbox.append(body, self._clock.time(), now, STATE)
        self._held = []
