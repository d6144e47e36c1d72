"""SIGHUP: the configuration is read again beside the running daemon, and what is right about it is applied.

Checking takes a child process and loading bundles takes time, so both happen in a thread; the loop is woken
when it is done and makes the changes between two turns. What is wrong is one line in the log, and the old
configuration stays.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import EdgeAgentError

if TYPE_CHECKING:
    from edge_agent.commands.compose import Composed
    from edge_agent.runtime.daemon import Daemon

log = logging.getLogger("edge_agent")


class Reloader:
    """Reads ``config`` again when asked to.

    Parameters
    ----------
    config : Path
        The device.toml.
    profile : str, optional
        As given on the command line.
    wake : callable
        Called from the thread when there is a result.
    """

    def __init__(self, config: Path, profile: str | None, wake: Callable[[], None]) -> None:
        self._config = config
        self._profile = profile
        self._wake = wake
        self._asked = False
        self._thread: threading.Thread | None = None
        self._result: Composed | EdgeAgentError | None = None

    def ask(self) -> None:
        """Ask for a reload; a signal handler may call it."""
        self._asked = True
        self._wake()

    def turn(self, daemon: Daemon) -> None:
        """Begin what was asked for, and apply what is there."""
        if self._asked and self._thread is None:
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
            self._apply(result, daemon)
        except EdgeAgentError as error:
            log.error("reload: %s; the old configuration stays", error)

    def _read(self) -> None:
        from edge_agent.commands.compose import compose

        try:
            self._result = compose(self._config, self._profile)
        except EdgeAgentError as error:
            self._result = error
        self._wake()

    def _apply(self, new: Composed, daemon: Daemon) -> None:
        from edge_agent.config.reload import changes

        todo = changes(daemon.config, new.settings.config)
        daemon.change([new.prepared[number] for number in todo.make], todo.gone)
        daemon.config = replace(daemon.config, population=new.settings.config.population)
        log.info("reload: %d populations made, %d let go", len(todo.make), len(todo.gone))
        if todo.restart:
            log.warning("reload: %s changed too, which takes a restart", ", ".join(todo.restart))
