"""The machine's clock behind ``protocol.ports.Clock``."""

from __future__ import annotations

import time


class SystemClock:
    """Time as the operating system tells it."""

    def monotonic(self) -> float:
        """Return seconds since some moment in the past; only goes up."""
        return time.monotonic()

    def time(self) -> float:
        """Return Unix time in seconds."""
        return time.time()
