"""A manual clock: time changes only when a test advances it."""

from __future__ import annotations


class ManualClock:
    """Time under the test's control.

    Parameters
    ----------
    start : float
        Where monotonic time begins, seconds.
    epoch : float
        Unix time at that moment; ``jump`` moves it alone, as NTP does.
    """

    def __init__(self, start: float = 0.0, epoch: float = 1_700_000_000.0) -> None:
        self._now = start
        self._offset = epoch - start

    def monotonic(self) -> float:
        """Return seconds that only go up."""
        return self._now

    def time(self) -> float:
        """Return Unix time in seconds."""
        return self._now + self._offset

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if seconds < 0:
            raise ValueError(f"seconds: found {seconds}, expected 0 or more")
        self._now += seconds

    def jump(self, seconds: float) -> None:
        """Set Unix time forth or back without time passing."""
        self._offset += seconds
