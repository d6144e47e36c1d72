"""Counts starts that failed, in a small file: whoever fails again and again must begin without what it kept.

Theory of operation. A start is noted on the disk before anything that was kept is used, and the note is
taken back when the device is connected, or when the daemon ends in good order. A note that is still there
at the next start is a start that failed: an exception, a signal, the watchdog. So is an exception within
`UP_S` of being connected, for the broker may just have handed over what the daemon fails with. Only a
device that was connected for `UP_S` counts anew. If the board was started in between, it was the power, or
whoever pulled it, and says nothing about the daemon. A disk that refuses the note is not fatal.
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

    def turned(self, online: bool, now: float) -> None:
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
