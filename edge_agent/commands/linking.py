"""What ``run`` puts between the daemon and its hub: the outbox on disk.

A disk that refuses the outbox must not end the daemon: it then lies beside the control socket, which is
memory on a board, smaller, and gone with the power; the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import PlatformError

if TYPE_CHECKING:
    from edge_agent.adapters.outbox import SqliteStore
    from edge_agent.runtime.config import Config
    from edge_agent.runtime.uplink import Uplink

log = logging.getLogger("edge_agent")

OUTBOX = "outbox.db"
VOLATILE_BYTES = 4_000_000


class Telling:
    """The uplink and the store under it.

    Parameters
    ----------
    config : Config
        The device's configuration.
    wake : callable
        Wakes the loop, from any thread.

    Raises
    ------
    PlatformError
        Neither the state directory nor the socket's takes the outbox.
    """

    def __init__(self, config: Config, wake: Callable[[], None]) -> None:
        from edge_agent.protocol.outbox import Outbox, OutboxSettings
        from edge_agent.protocol.telemetry import Telemetry
        from edge_agent.runtime.assembly import OUTBOX_PENDING_BYTES
        from edge_agent.runtime.uplink import Uplink
        from edge_agent.wire.topics import DeviceTopics

        limit = int(config.hub.outbox_mb * 1e6)
        try:
            self._store = _open(Path(config.device.state_dir), wake)
        except PlatformError as error:
            folder = Path(config.device.socket).parent
            log.warning("telemetry: %s; kept in %s instead, until the power goes", error, folder)
            self._store, limit = _open(folder, wake), min(limit, VOLATILE_BYTES)
        settings = OutboxSettings(
            max_bytes=limit, pending_bytes=OUTBOX_PENDING_BYTES, confirm=config.hub.confirm
        )
        topics = DeviceTopics(config.device.fleet, config.device.name)
        self._outbox = Outbox(settings, topics.telemetry, self._store)
        self.uplink: Uplink = Uplink(
            Telemetry(config.device.telemetry_s), self._outbox, lambda: self._store.damaged
        )

    def close(self, t: float, wait: Callable[[], object]) -> None:
        """Store what is pending and close the file; ``wait`` blocks until the loop is woken."""
        self._outbox.close(t, wait)
        self._store.close()


def _open(folder: Path, wake: Callable[[], None]) -> SqliteStore:
    from edge_agent.adapters.outbox import SqliteStore

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"{folder}: {error.strerror}") from error
    return SqliteStore(folder / OUTBOX, wake)
