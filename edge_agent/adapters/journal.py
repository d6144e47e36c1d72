"""Sends log records with fields to journald in its native protocol.

A record becomes one datagram of KEY=value lines; a value that contains a line break is preceded by its
length. ``EDGE_AGENT_`` fields come from the record's ``fields`` (a mapping given as ``extra={"fields":
{...}}``). Source: systemd.io, "Native Journal Protocol".
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
MAX_VALUE = 32 * 1024
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def under_journald(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether standard error goes to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        own = os.fstat(2)
        return (own.st_dev, own.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False


class JournalHandler(logging.Handler):
    """Sends records to the journal; what it will not take is lost, as on a full pipe."""

    def __init__(self, path: Path = SOCKET) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._path = str(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(_PRIORITY.get(record.levelno, 5)),
            "SYSLOG_IDENTIFIER": "edge-agent",
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
        }
        extra = record.__dict__.get("fields", {})
        fields |= {f"EDGE_AGENT_{name.upper()}": str(value) for name, value in extra.items()}
        try:
            self._socket.sendto(b"".join(_field(*item) for item in fields.items()), self._path)
        except OSError:
            return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")[:MAX_VALUE]
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
