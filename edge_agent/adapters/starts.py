"""Counts failed starts in a small file, so that a daemon that fails repeatedly starts without its stored
state.

Theory of operation. A start is recorded on disk before any stored state is used. The record is removed when
the device is connected, or when the daemon ends in an orderly way. A record that is still there at the next
start is a failed start: an exception, a signal, the watchdog. An exception within `UP_S` seconds of
connecting counts as well, since a message from the broker may have caused it. The count is reset after `UP_S`
seconds of connection. If the board rebooted in between, the start does not count, since the cause may be a
power cut. A failed write of the record is not fatal.
"""

from __future__ import annotations

import logging
from pathlib import Path

from edge_agent.adapters.state_file import StateFile
from edge_agent.errors import PlatformError

log = logging.getLogger("edge_agent")

FILE = "starts.json"
LIMIT = 3
"""So many failed starts, and what was kept is set aside."""
UP_S = 10.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def board_boot(path: Path = BOOT_ID) -> str:
    """Return what names this start of the board; "" where the system does not say."""
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


class StartCount:
    """The note; see the module's head.

    Parameters
    ----------
    folder : Path
        The state directory.
    boot : str
        Names this start of the board.
    """

    def __init__(self, folder: Path, boot: str) -> None:
        self.failed = 0
        """Starts in a row that failed before this one."""
        self._folder = folder
        self._file = StateFile(folder / FILE)
        self._boot = boot
        self._under_way = False
        self._online_at: float | None = None

    def begin(self) -> bool:
        """Note that a start begins; return whether too many before it failed (and count anew)."""
        try:
            found = self._file.read() or {}
        except PlatformError as error:
            log.warning("starts: %s", error)
            found = {}
        match found:
            case {"failed": int(failed), "starting": starting} if 0 <= failed <= LIMIT:
                self.failed = failed + (starting == self._boot)
        too_many = self.failed >= LIMIT
        if too_many:
            self.failed = 0
        self._under_way = True
        self._write(self._boot)
        return too_many

    def loop_ran(self, online: bool, now: float) -> None:
        """Take note after a turn of the loop, monotonic seconds, whether the device is connected."""
        if not self._under_way:
            return
        if online and self._online_at is None:
            self._online_at = now
            self._write(None)
        if self._online_at is not None and now - self._online_at >= UP_S:
            self._under_way, self.failed = False, 0
            self._write(None)

    def end(self) -> None:
        """Take note that the process ends in good order."""
        if self._under_way:
            self._under_way = False
            self._write(None)

    def fail(self) -> None:
        """Take note that the loop ended with an exception."""
        if self._under_way and self._online_at is not None:
            self._write(self._boot)

    def _write(self, starting: str | None) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.write({"failed": self.failed, "starting": starting})
        except (OSError, PlatformError) as error:
            log.warning("starts: %s", error)
