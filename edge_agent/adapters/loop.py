"""The daemon's wait: a wake-up descriptor, signals, the control socket, and the broker's connection.

Theory of operation. ``wake`` writes to an eventfd, from any thread. Signal handlers only set a flag and call
``wake``. `Loop.wait` returns when the first call, or the first byte on a stream, came in: it is the arrival
time of the oldest waiting message.

A stream is a connection that brings many messages. `Loop.gather` says until when those that come in are
taken together: the wait then goes on until that time, or until something else happens. The streams are in an
epoll of their own, outside that of all other descriptors, so that such a wait changes neither.
"""

from __future__ import annotations

import math
import os
import select
import selectors
import time
from collections.abc import Callable
from typing import Any


class Loop:
    """A selector with a wake-up call."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.selector = selectors.EpollSelector()
        self._streams = selectors.EpollSelector()
        self._monotonic = monotonic
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._woken_at: float | None = None
        self._gather_until = -math.inf
        self.selector.register(self._event, selectors.EVENT_READ, None)
        self._streams.register(self.selector, selectors.EVENT_READ, None)

    def wake(self) -> None:
        """End the wait, or the next one; may be called from any thread."""
        if self._woken_at is None:
            self._woken_at = self._monotonic()
            os.eventfd_write(self._event, 1)

    def add_stream(self, connection: Any, ready: Callable[[], None]) -> None:
        """Call ``ready`` whenever ``connection`` can be read."""
        self._streams.register(connection, selectors.EVENT_READ, ready)

    def watch_writes(self, connection: Any, wanted: bool) -> None:
        """End waits when ``connection`` can be written, or do so no more."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
        self._streams.modify(connection, events, self._streams.get_key(connection).data)

    def remove_stream(self, connection: Any) -> None:
        """Forget ``connection``."""
        self._streams.unregister(connection)

    def gather(self, until: float) -> None:
        """Take what comes in on streams before ``until`` (monotonic seconds) together."""
        self._gather_until = until

    def wait(self, deadline: float) -> float | None:
        """Wait until ``deadline`` (monotonic; inf: for ever), a call or a stream; return the time of the
        first of these two.
        """
        timeout = None if math.isinf(deadline) and deadline > 0 else max(0.0, deadline - self._monotonic())
        heard_at, alone = None, True
        for key, _ in self._streams.select(timeout):
            if key.data is None:
                alone = False
                self._look()
            else:
                key.data()
                heard_at = self._monotonic()
        if heard_at is not None and alone:
            rest = min(self._gather_until, deadline) - heard_at
            # epoll counts in milliseconds, of which there are but a few here.
            if rest > 0 and select.select([self.selector], [], [], rest)[0]:
                self._look()
        # Whoever calls `wake` before this line put its event where the next turn finds it.
        woken_at, self._woken_at = self._woken_at, None
        return woken_at if heard_at is None else min(heard_at, woken_at or heard_at)

    def close(self) -> None:
        """Give the descriptors back."""
        self._streams.close()
        self.selector.close()
        os.close(self._event)

    def _look(self) -> None:
        for key, _ in self.selector.select(0.0):
            if key.fd == self._event:
                os.eventfd_read(self._event)
            else:
                key.data(key.fd)
