"""Ordered effects of the hub client: nothing after a Save runs until it is on disk.

Theory of operation. Effects that result from an effect are appended to the queue, so no effect starts inside
another. If a `Save` fails, the effects after it wait, and it is tried again every `RETRY_S` seconds.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from edge_agent.errors import PlatformError
from edge_agent.protocol.hub_effects import HubEffect, Save
from edge_agent.protocol.ports import Clock

log = logging.getLogger("edge_agent")

RETRY_S = 5.0
MAX_WAITING = 1000


class DeviceStore(Protocol):
    """Where the hub client's state is kept; failures are PlatformError."""

    def write(self, state: Mapping[str, Any]) -> None:
        """Make it durable."""


class EffectQueue:
    """The effects that wait.

    Parameters
    ----------
    state_store : DeviceStore
        Takes the states.
    perform : callable
        Carries out every effect but `Save`.
    clock : Clock
        Monotonic time.
    """

    def __init__(self, state_store: DeviceStore, perform: Callable[[HubEffect], None], clock: Clock) -> None:
        self.unsaved = 0
        self.retry_at: float | None = None
        """When to call `add` again, since the disk refused; monotonic seconds."""
        self._state_store = state_store
        self._perform = perform
        self._clock = clock
        self._waiting: deque[HubEffect] = deque()
        self._going_on = False

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should be asked for."""
        return len(self._waiting) > MAX_WAITING

    def add(self, effects: Iterable[HubEffect]) -> None:
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
            self._state_store.write(effect.state)
        except PlatformError as error:
            self.unsaved += 1
            log.error("hub: %s; documents and commands wait until the state is stored", error)
            self.retry_at = self._clock.monotonic() + RETRY_S
            return False
        self.retry_at = None
        return True
