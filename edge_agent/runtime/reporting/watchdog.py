"""Reports to the service manager: readiness, watchdog notifications after completed work, and a status line.

Theory of operation. The daemon's loop calls `turned` after every turn with the number of tasks completed so
far. The watchdog is notified when that number has grown, so the service manager restarts a daemon whose step
hangs or whose loop completes no task. There are at most four notifications per interval, to limit the
messages at high tick rates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

STATUS_S = 2.0
FEEDS_PER_INTERVAL = 4


class ServiceManager(Protocol):
    """Who started the daemon; `adapters.systemd` is the one for systemd."""

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds within which it wants to hear of progress; None: it does not."""

    def ready(self) -> None:
        """Start-up is complete."""

    def watchdog(self) -> None:
        """Say that a tick has completed."""

    def status(self, text: str) -> None:
        """One line for people."""

    def stopping(self) -> None:
        """Shutdown has begun."""


class Watchdog:
    """Tells ``manager`` how the daemon is.

    Parameters
    ----------
    manager : ServiceManager
        Who wants to know.
    describe : callable
        Returns the line of status.
    """

    def __init__(self, manager: ServiceManager, describe: Callable[[], str]) -> None:
        self._manager = manager
        self._describe = describe
        interval = manager.watchdog_interval
        self._pause = 0.0 if interval is None else interval / FEEDS_PER_INTERVAL
        self._completed = 0
        self._fed = float("-inf")
        self._described = float("-inf")
        self._text = ""

    def started(self) -> None:
        """Say that the daemon is up."""
        self._manager.ready()

    def loop_ran(self, completed: int, now: float) -> None:
        """Note the end of a turn.

        Parameters
        ----------
        completed : int
            Tasks the daemon has completed since its start.
        now : float
            Monotonic seconds.
        """
        if completed > self._completed and now - self._fed >= self._pause:
            self._completed, self._fed = completed, now
            self._manager.watchdog()
        if now - self._described >= STATUS_S:
            self._described = now
            text = self._describe()
            if text != self._text:
                self._text = text
                self._manager.status(text)

    def stopping(self) -> None:
        """Say that the daemon goes down on purpose."""
        self._manager.stopping()
