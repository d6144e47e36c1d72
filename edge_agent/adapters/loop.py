"""The daemon's wait: a wake-up descriptor, signals, and the control socket.

Theory of operation. ``wake`` writes to an eventfd, from any thread. The time of the first call since the last
wait is stored: it is the arrival time of the oldest waiting message. Signal handlers only set a flag and call
``wake``.
"""

from __future__ import annotations

import math
import os
import selectors
import time
from collections.abc import Callable


class Loop:
    """A selector with a wake-up call."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.selector = selectors.DefaultSelector()
        self._monotonic = monotonic
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._woken_at: float | None = None
        self.selector.register(self._event, selectors.EVENT_READ, None)

    def wake(self) -> None:
        """End the wait, or the next one; may be called from any thread."""
        if self._woken_at is None:
            self._woken_at = self._monotonic()
            os.eventfd_write(self._event, 1)

    def wait(self, deadline: float) -> float | None:
        """Wait until ``deadline`` (monotonic; inf: for ever) or a call; return the first call's time."""
        timeout = None if math.isinf(deadline) else max(0.0, deadline - self._monotonic())
        for key, _ in self.selector.select(timeout):
            if key.fd == self._event:
                os.eventfd_read(self._event)
            else:
                key.data(key.fd)
        # Whoever calls `wake` before this line put its event where the next turn finds it.
        woken_at, self._woken_at = self._woken_at, None
        return woken_at

    def close(self) -> None:
        """Give the descriptors back."""
        self.selector.close()
        os.close(self._event)
