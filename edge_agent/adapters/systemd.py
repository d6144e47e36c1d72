"""systemd's notification protocol: datagrams of ``KEY=value`` lines to the socket in ``NOTIFY_SOCKET``.

Theory of operation. The service manager binds an ``AF_UNIX`` datagram socket and passes its address to
``Type=notify`` units: a path, or ``@name`` for the abstract namespace. The daemon reports there that it is
ready, its status, and (``WatchdogSec=``) that it makes progress. The caller notifies the watchdog only when a
tick has completed, so systemd restarts a daemon whose tick hangs.

Without systemd there is no address and every call does nothing. A socket that refuses messages is a platform
error: systemd would later kill the daemon as hung. If the socket buffer is full, the call blocks, as in
libsystemd.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5) on ``Type=notify-reload``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from edge_agent.errors import PlatformError

ADDRESS = "NOTIFY_SOCKET"
WATCHDOG_INTERVAL = "WATCHDOG_USEC"
WATCHDOG_PROCESS = "WATCHDOG_PID"


class Notifier:
    """``ready()``, ``watchdog()``, ``status(text)``, ``stopping()``: messages to systemd.

    Make it with ``Notifier.from_environment()``; without ``NOTIFY_SOCKET`` all four do nothing.

    Parameters
    ----------
    address : str or None
        Path of the manager's socket, ``@name`` for an abstract one, None for no manager.
    watchdog_interval : float or None
        Seconds within which ``watchdog()`` must be called again, None if nobody waits for it.

    Raises
    ------
    PlatformError
        From every call that sends: the manager's socket is gone or refuses.
    """

    def __init__(
        self,
        address: str | None,
        watchdog_interval: float | None = None,
    ) -> None:
        self.watchdog_interval = watchdog_interval
        self._address = address
        self._socket: socket.socket | None = None
        if address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """Return the notifier that the service manager asked for, one that does nothing if there is none.

        ``WATCHDOG_USEC`` counts only if ``WATCHDOG_PID`` is this process or absent: a child that inherited
        the environment is not the one being watched.

        Raises
        ------
        PlatformError
            A variable has a value that the protocol does not allow.
        """
        address = environment.get(ADDRESS) or None
        if address is not None and not address.startswith(("/", "@")):
            raise PlatformError(f"{ADDRESS}: found {address!r}, expected an absolute path or @name")
        interval = _whole(environment, WATCHDOG_INTERVAL)
        process = _whole(environment, WATCHDOG_PROCESS)
        watched = interval is not None and process in (None, os.getpid())
        return cls(address, interval / 1e6 if watched and interval is not None else None)

    def ready(self) -> None:
        """Say that start-up, or a reload, is complete: ``systemctl start`` returns now."""
        self._send("READY=1")

    def watchdog(self) -> None:
        """Say that a tick has completed. Call it for nothing else."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show one line in ``systemctl status``.

        Parameters
        ----------
        text : str
            A line break in it would start a new key of the protocol: breaks become spaces.
        """
        self._send("STATUS=" + " ".join(text.splitlines()))

    def stopping(self) -> None:
        """Say that the daemon has begun to shut down."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket; calls after it do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None or self._address is None:
            return
        # An abstract address is a leading NUL on the wire and "@" in the environment.
        target = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._socket.sendto(message.encode(), target)
        except OSError as error:
            raise PlatformError(f"{ADDRESS}={self._address}: {error.strerror or error}") from error


def _whole(environment: Mapping[str, str], key: str) -> int | None:
    text = environment.get(key)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise PlatformError(f"{key}: found {text!r}, expected a whole number above 0")
    return int(text)
