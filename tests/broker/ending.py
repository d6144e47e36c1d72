"""Stops a test's processes in order, as a service manager does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from typing import Any

PATIENCE = 60.0
"""Seconds after which what should have happened counts as never happening."""


def end_all(processes: Iterable[subprocess.Popen[Any]]) -> None:
    """SIGTERM to all at once; one that does not end by it is killed, and fails the test."""
    ending = list(processes)
    for process in ending:
        process.terminate()
    try:
        for process in ending:
            process.wait(PATIENCE)
    finally:
        for process in ending:
            process.kill()
            process.wait()
