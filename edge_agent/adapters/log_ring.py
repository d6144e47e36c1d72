"""Keeps the newest log lines of the daemon in memory, for whoever asks for them over the hub or the socket.

The lines lie in one buffer of fixed size that is written round and round, so that the process does not grow
with what it logs. A line that is longer than `MAX_LINE` bytes is cut.
"""

from __future__ import annotations

import logging
import time

RING_BYTES = 64 * 1024
MAX_LINE = 1000


class LogRing(logging.Handler):
    """The newest lines: time (UTC), level and message.

    Parameters
    ----------
    nbytes : int
        Size of the buffer.
    """

    def __init__(self, nbytes: int = RING_BYTES) -> None:
        super().__init__()
        self._buffer = bytearray(b"\n" * nbytes)
        self._end = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take in a record; its traceback, if it has one, stays in the journal."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        text = f"{stamp} {record.levelname} {record.getMessage()}".replace("\n", " ")
        line = text.encode("utf-8", "replace")[:MAX_LINE] + b"\n"
        room = len(self._buffer) - self._end
        self._buffer[self._end : self._end + min(room, len(line))] = line[:room]
        if len(line) > room:
            self._buffer[: len(line) - room] = line[room:]
        self._end = (self._end + len(line)) % len(self._buffer)

    def lines(self, most: int) -> list[str]:
        """Return the newest lines, at most ``most``, the oldest of them first."""
        found = bytes(self._buffer[self._end :] + self._buffer[: self._end])
        _, _, whole = found.partition(b"\n")  # the first line may have been overwritten in part
        kept = [line for line in whole.split(b"\n") if line]
        return [line.decode("utf-8", "replace") for line in kept[-most:]]
