"""Checks what a hub sets in the configuration, in a thread beside the loop."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_agent.errors import EdgeAgentError
from edge_agent.memory.budget import Plan
from edge_agent.runtime.rollout.configuration_port import Checked, PlannedConfiguration

log = logging.getLogger("edge_agent")

Compose = Callable[[Mapping[str, Any], int], PlannedConfiguration]
"""(values, bytes of the process before anything of ours) -> what the device would run."""


class ConfigurationChecker:
    """A `runtime.rollout.configuration_port.ConfigurationPort`.

    Parameters
    ----------
    compose : callable
        Reads the file with the values, checks and plans; it runs in a thread.
    wake : callable
        Called from the thread when there is news.
    """

    def __init__(self, compose: Compose, wake: Callable[[], None]) -> None:
        self._compose = compose
        self._wake = wake
        self._news: queue.SimpleQueue[Checked] = queue.SimpleQueue()

    def check(self, digest: str, values: Mapping[str, Any], plan: Plan) -> None:
        """Begin to check the file with ``values``; the process' own size is that of the running plan."""
        base = plan.lines[0].nbytes

        def work() -> None:
            try:
                found: PlannedConfiguration | str = self._compose(values, base)
            except EdgeAgentError as error:
                found = str(error)
            except Exception as error:  # the outermost call of a thread: without news the rollout never ends
                log.exception("hub: the configuration cannot be checked")
                found = f"{type(error).__name__}: {error}"
            self._news.put(Checked(digest, found))
            self._wake()

        threading.Thread(target=work, name="configuration", daemon=True).start()

    def news(self) -> Sequence[Checked]:
        """Return what ended since the last call."""
        found: list[Checked] = []
        while not self._news.empty():
            found.append(self._news.get())
        return found
