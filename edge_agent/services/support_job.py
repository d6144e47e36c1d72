"""Makes a support bundle for the hub, in a process of its own: its libraries end with it."""

from __future__ import annotations

import base64
import logging
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError, PlatformError

log = logging.getLogger("edge_agent")

MAX_KB = 160
"""Size of the archive: as base64 it fits into one message."""
TIMEOUT_S = 180.0
NAME = "edge-agent-support.tar.gz"

Answer = Callable[[dict[str, Any] | ConfigError], None]


class SupportJob:
    """Runs ``edge-agent support-bundle``, one at a time.

    Parameters
    ----------
    command : sequence of str
        The command, without ``--output`` and ``--profile``.
    wake : callable
        Called from the thread when a bundle is there.
    """

    def __init__(self, command: Sequence[str], wake: Callable[[], None]) -> None:
        self._command = list(command)
        self._wake = wake
        self._answer: Answer | None = None
        self._result: dict[str, Any] | ConfigError | None = None

    def begin(self, profile_s: int, answer: Answer) -> None:
        """Begin to make a bundle; ``answer`` gets it, or why there is none, from `run_once`.

        Raises
        ------
        ConfigError
            One is being made already.
        """
        if self._answer is not None:
            raise ConfigError("support-bundle: found another one being made, expected one at a time")
        self._answer = answer
        threading.Thread(target=self._work, args=(profile_s,), name="support", daemon=True).start()

    def run_once(self) -> None:
        """Hand over what is there."""
        if self._result is None or self._answer is None:
            return
        answer, result = self._answer, self._result
        self._answer = self._result = None
        answer(result)

    def _work(self, profile_s: int) -> None:
        try:
            self._result = self._made(profile_s)
        except (OSError, subprocess.SubprocessError, PlatformError) as error:
            self._result = ConfigError(f"support-bundle: {str(error)[-300:]}")
        except Exception as error:  # the outermost call of a thread: without a result nobody is answered
            log.exception("support-bundle")
            self._result = ConfigError(f"support-bundle: {type(error).__name__}: {error}")
        self._wake()

    def _made(self, profile_s: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="edge-agent-") as folder:
            path = Path(folder) / NAME
            words = [*self._command, "--output", str(path), "--max-kb", str(MAX_KB)]
            if profile_s:
                words += ["--profile", str(profile_s)]
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=TIMEOUT_S + profile_s, check=False
            )
            if done.returncode:
                raise PlatformError((done.stderr or "it failed").strip().splitlines()[-1])
            data = path.read_bytes()
        return {"name": NAME, "bytes": len(data), "data": base64.b64encode(data).decode("ascii")}
