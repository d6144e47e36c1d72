"""Counts the daemon's starts and says how the run before ended.

Theory of operation. A start is written to a small file with the name of the board's present boot; an end in
good order, or by an exception, is added to it. A run that left no end was killed (a signal, the watchdog, the
kernel short of memory), or the board lost power or restarted, if its boot has another name by now. Two writes
a run. A file that can't be read or written costs this knowledge, nothing else.
"""

from __future__ import annotations

import logging
from pathlib import Path

from edge_agent.adapters.starts import board_boot
from edge_agent.adapters.state_file import StateFile
from edge_agent.errors import PlatformError

log = logging.getLogger("edge_agent")

FILE = "restarts.json"
STOPPED, FAILED = "stopped", "failed"


class RestartLog:
    """The file; see the module's head.

    Parameters
    ----------
    folder : Path
        The state directory.
    boot : str, optional
        Names this start of the board.
    """

    def __init__(self, folder: Path, boot: str | None = None) -> None:
        self.starts = 0
        """Starts so far, this one included."""
        self.reason = "first"
        """How the run before this one ended: first, stopped, failed, killed or power."""
        self._folder = folder
        self._file = StateFile(folder / FILE)
        self._boot = board_boot() if boot is None else boot

    def begin(self) -> None:
        """Note that a run begins."""
        try:
            found = self._file.read()
        except PlatformError as error:
            log.warning("restarts: %s", error)
            found = None
        match found:
            case {"starts": int(starts), "boot": str(boot), "ended": str(ended)} if 0 <= starts < 2**53:
                self.starts = starts
                self.reason = ended or ("killed" if boot == self._boot else "power")
        self.starts += 1
        self._write("")

    def end(self, failed: bool = False) -> None:
        """Note that the run ends, in good order or by an exception."""
        self._write(FAILED if failed else STOPPED)

    def _write(self, ended: str) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.write({"starts": self.starts, "boot": self._boot, "ended": ended})
        except (OSError, PlatformError) as error:
            log.warning("restarts: %s", error)
