"""SIGHUP: reads the configuration again beside the running daemon and applies the changes.

Checking takes a child process and loading bundles takes time, so both happen in a thread; the loop is woken
when it is done and makes the changes between two turns. An error is one line in the log, and the old
configuration stays in force.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from edge_agent.config.records import Config
from edge_agent.config.reload import changes
from edge_agent.errors import BudgetError, EdgeAgentError, PlatformError
from edge_agent.memory.budget import region_bytes
from edge_agent.runtime.assembly import Prepared
from edge_agent.runtime.populations import Populations

log = logging.getLogger("edge_agent")


class Composition(Protocol):
    """A configuration that was read, checked and prepared."""

    @property
    def config(self) -> Config:
        """The configuration."""

    @property
    def prepared(self) -> list[Prepared]:
        """Its populations, in its order."""


class Reloader:
    """Reads the configuration again when asked to.

    Parameters
    ----------
    compose : callable
        Reads, checks and prepares; it runs in a thread.
    populations : Populations
        Where changes are applied.
    wake : callable
        Called from the thread when there is a result.
    """

    def __init__(
        self, compose: Callable[[], Composition], populations: Populations, wake: Callable[[], None]
    ) -> None:
        self._compose = compose
        self._populations = populations
        self._wake = wake
        self.waits: Callable[[], bool] = lambda: False
        """Whether a reload has to wait: what a hub set is on trial."""
        self._asked = False
        self._thread: threading.Thread | None = None
        self._result: Composition | EdgeAgentError | None = None

    def ask(self) -> None:
        """Ask for a reload; a signal handler may call it."""
        self._asked = True
        self._wake()

    def run_once(self) -> None:
        """Begin what was asked for, and apply what is there."""
        if self._asked and self._thread is None and not self.waits():
            self._asked = False
            self._thread = threading.Thread(target=self._read, name="reload", daemon=True)
            self._thread.start()
        result, self._result = self._result, None
        if result is None:
            return
        self._thread = None
        try:
            if isinstance(result, EdgeAgentError):
                raise result
            self._apply(result)
        except EdgeAgentError as error:
            log.error("reload: %s; the old configuration stays", error)

    def _read(self) -> None:
        try:
            self._result = self._compose()
        except EdgeAgentError as error:
            self._result = error
        except Exception as error:  # the outermost call of a thread: without a result no reload starts again
            log.exception("reload: unhandled exception while the configuration was read")
            self._result = PlatformError(f"{type(error).__name__}: {error}")
        self._wake()

    def _apply(self, new: Composition) -> None:
        todo = changes(self._populations.config, new.config)
        made = [new.prepared[number] for number in todo.make]
        try:
            self._populations.change(made, todo.gone, new.config.population)
        except BudgetError as error:
            needed = region_bytes(region for item in made for region in item.regions(item.config.name))
            raise BudgetError(
                f"{error}; they are planned beside what runs: set device.spare_kb to at least "
                f"{-(-needed // 1024)}, and restart",
                error.missing,
            ) from error
        log.info("reload: %d populations made, %d removed", len(todo.make), len(todo.gone))
        if todo.restart:
            log.warning("reload: %s changed too, which takes a restart", ", ".join(todo.restart))
