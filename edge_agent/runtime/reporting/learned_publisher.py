"""Sends what populations counted while they learned to the hub, through the outbox.

Theory of operation. An epoch is what was counted since the one before. It is taken out of the learner, and
its messages wait here. They go into the outbox once a checkpoint is on the disk that has both: the learner
without the epoch, and the messages. They stay in each checkpoint until the outbox has them on its disk too.
So a daemon that is killed before that checkpoint has taken nothing out, and one that is killed after it sends
the messages again when it starts. The hub knows an epoch that it has by its number: each is counted once. The
population itself goes on with all that it counted.

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
SETTLE_S = 5.0
"""Between looks whether the outbox has stored what it was given."""


class LearnedOutbox(Protocol):
    """Where messages wait until the hub has them."""

    def append(self, body: Mapping[str, Any], t: float, now: float, priority: int) -> None:
        """Take a body in."""

    def in_memory(self, priority: int) -> bool:
        """Return whether an entry of this priority is not yet on the disk."""


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
    waiting : list of dict
        Messages that a checkpoint has, and the outbox perhaps not. The last run may have left some by
        `start`; they are sent again.
    """

    def __init__(
        self,
        populations: Populations,
        outbox: LearnedOutbox,
        save: Callable[[], bool],
        clock: Clock,
        waiting: list[dict[str, Any]],
    ) -> None:
        self.epochs = 0
        """Epochs that were given to the outbox since the start."""
        self._populations = populations
        self._outbox = outbox
        self._save = save
        self._clock = clock
        self._due: dict[str, float] = {}
        self._waiting = waiting
        self._given = 0  # so many of them are in the outbox
        self._look = math.inf
        self._last = 0

    def start(self) -> None:
        """Send again what the last run may not have stored in the outbox."""
        if self._waiting:
            self._last = max(int(body["epoch"]) for body in self._waiting)
            self._look = self._clock.monotonic()

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds."""
        return min([self._look, *self._due.values()])

    def run_once(self) -> None:
        """Send what is due."""
        now = self._clock.monotonic()
        groups = self._senders()
        self._due = {name: self._due.get(name, now + g.config.learn_send_s) for name, g in groups.items()}
        due = [name for name, deadline in self._due.items() if now >= deadline]
        for name in due:
            self._take(name, groups[name])
        if due or now >= self._look:
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
        return {"epochs": self.epochs, "waiting": len(self._waiting) - self._given}

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
        self._waiting += bodies
        self.epochs += 1
        return len(bodies)

    def _flush(self) -> None:
        """Give what waits to the outbox, once a checkpoint has it; forget what the outbox has stored."""
        now = self._clock.monotonic()
        if self._given and not self._outbox.in_memory(STATE):
            del self._waiting[: self._given]
            self._given = 0
        if len(self._waiting) > self._given:
            if not self._save():
                self._look = now + RETRY_S
                return
            for body in self._waiting[self._given :]:
                self._outbox.append(body, self._clock.time(), now, STATE)
            self._given = len(self._waiting)
        self._look = now + SETTLE_S if self._given else math.inf
