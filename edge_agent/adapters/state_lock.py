"""One daemon per state directory: an advisory lock on the directory itself.

Theory of operation. ``flock(2)`` on a directory needs no file of its own, works on a file system that is
read-only, and is released by the kernel however the process ends. Who holds it is read from ``/proc/locks``.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edge_agent.errors import PlatformError

_LOCKS = Path("/proc/locks")


class StateLock:
    """The lock on ``folder``, held until `close`.

    Raises
    ------
    PlatformError
        Another daemon holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # nothing can be kept there, by nobody; whoever wants to says so
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self._descriptor)
            self.close()
            raise PlatformError(
                f"{folder}: another daemon{holder} uses this state directory; set another device.state_dir"
            ) from None
        except OSError:  # a file system without locks
            self.close()

    def close(self) -> None:
        """Let the directory go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _holder(descriptor: int) -> str:
    """Return the process that holds a lock on an open file, for a message; empty if it is not to be found."""
    found = os.fstat(descriptor)
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return ""
    words = next((line.split() for line in lines if place in line.split()), None)
    return f" (pid {words[4]})" if words is not None else ""
