"""Opens the telemetry outbox on disk, or beside the control socket if the disk cannot be written.

A disk error must not end the daemon: the outbox is then beside the control socket, which is in memory,
smaller, and lost at power-off; the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from edge_agent.adapters.outbox_sqlite import SqliteOutboxStore
from edge_agent.config.records import Config
from edge_agent.errors import PlatformError
from edge_agent.protocol.outbox import Outbox, OutboxSettings
from edge_agent.runtime.assembly import OUTBOX_PENDING_BYTES
from edge_agent.wire.topics import DeviceTopics

log = logging.getLogger("edge_agent")

OUTBOX = "outbox.db"
VOLATILE_BYTES = 4_000_000
DAY_S = 86_400.0


class TelemetryOutbox:
    """The outbox and the store under it.

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
        limit = int(config.hub.outbox_mb * 1e6)
        try:
            self._store = _open(Path(config.device.state_dir), wake)
        except PlatformError as error:
            folder = Path(config.device.socket).parent
            log.warning("telemetry: %s; kept in %s instead, until the power goes", error, folder)
            self._store, limit = _open(folder, wake), min(limit, VOLATILE_BYTES)
        settings = OutboxSettings(
            max_bytes=limit,
            max_age=config.hub.outbox_days * DAY_S,
            pending_bytes=OUTBOX_PENDING_BYTES,
            confirm=config.hub.confirm,
        )
        topics = DeviceTopics(config.device.fleet, config.device.name)
        self.outbox = Outbox(settings, topics.telemetry, self._store, topics.learned)

    def damaged(self) -> int:
        """Return how many files of the outbox were set aside."""
        return self._store.damaged

    def close(self, t: float, wait: Callable[[], object]) -> None:
        """Store what is pending and close the file; ``wait`` blocks until the loop is woken."""
        self.outbox.close(t, wait)
        self._store.close()


def _open(folder: Path, wake: Callable[[], None]) -> SqliteOutboxStore:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"{folder}: {error.strerror}") from error
    return SqliteOutboxStore(folder / OUTBOX, wake)
