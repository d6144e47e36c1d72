"""What the follower asked for and is not done yet: done in order, nothing before what it rests on is kept.

Theory of operation. What an effect leads to waits behind those that wait already, so none begins in the
middle of another. `Save` is the one that matters: while the disk refuses it, nothing after it happens, and
it is tried again every `RETRY_S`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from edge_agent.errors import PlatformError
from edge_agent.protocol.hub_client import HubEffect, Save
from edge_agent.protocol.ports import Clock

log = logging.getLogger("edge_agent")

RETRY_S = 5.0
MAX_WAITING = 1000


class DeviceStore(Protocol):
    """Where the follower's state is kept; failures are PlatformError."""

    def write(self, state: Mapping[str, Any]) -> None:
        """Make it durable."""


class EffectQueue:
    """The effects that wait.

    Parameters
    ----------
    keeper : DeviceStore
        Takes the states.
    perform : callable
        Carries out every effect but `Save`.
    clock : Clock
        Monotonic time.
    """

    def __init__(self, keeper: DeviceStore, perform: Callable[[HubEffect], None], clock: Clock) -> None:
        self.unsaved = 0
        self.retry_at: float | None = None
        """When to call `take` again, since the disk refused; monotonic seconds."""
        self._keeper = keeper
        self._perform = perform
        self._clock = clock
        self._waiting: deque[HubEffect] = deque()
        self._going_on = False

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should be asked for."""
        return len(self._waiting) > MAX_WAITING

    def take(self, effects: Iterable[HubEffect]) -> None:
        """Carry effects out, after those that wait; what they lead to comes last."""
        self._waiting.extend(effects)
        if self._going_on:
            return
        self._going_on = True
        try:
            while self._waiting:
                effect = self._waiting[0]
                if isinstance(effect, Save) and not self._saved(effect):
                    return
                self._waiting.popleft()
                if not isinstance(effect, Save):
                    self._perform(effect)
        finally:
            self._going_on = False

    def _saved(self, effect: Save) -> bool:
        try:
            self._keeper.write(effect.state)
        except PlatformError as error:
            self.unsaved += 1
            log.error("hub: %s; nothing is obeyed until it can be kept", error)
            self.retry_at = self._clock.monotonic() + RETRY_S
            return False
        self.retry_at = None
        return True
