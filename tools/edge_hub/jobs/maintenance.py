"""What the service does once in a while: delete what is too old. One process at a time, by a lease."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from edge_agent.errors import EdgeAgentError
from edge_hub.database import accounts, expiry, leases
from edge_hub.database.engine import Database
from edge_hub.domain.days import DAY_S

log = logging.getLogger("edge_hub")

LEASE = "maintenance"
INTERVAL_S = 600.0
LEASE_S = 3600.0
REJECTED_DAYS = 30.0


class Maintenance:
    """A thread.

    Parameters
    ----------
    database : Database
        Of what.
    keep_days : float
        Days that telemetry is kept.
    """

    def __init__(self, database: Database, keep_days: float) -> None:
        self._database = database
        self._keep_days = keep_days
        self._lease = leases.Lease(database, LEASE, LEASE_S)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-hub-maintenance")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._stopped.set()
        self._thread.join()

    def sweep(self, now: float) -> None:
        """Delete what is too old.

        Raises
        ------
        PlatformError
            The database is not there.
        """
        deleted = expiry.telemetry(self._database, now - self._keep_days * DAY_S)
        expiry.rejected(self._database, now - REJECTED_DAYS * DAY_S)
        accounts.expire(self._database, now)
        if deleted:
            log.info("telemetry: %d %s deleted", deleted, "rows" if self._database.sqlite else "days")

    def _run(self) -> None:
        while True:
            try:
                if self._lease.acquire():
                    self.sweep(time.time())
            except EdgeAgentError as error:
                log.warning("maintenance: %s; trying again", error)
            if self._stopped.wait(INTERVAL_S):
                break
        with contextlib.suppress(EdgeAgentError):
            self._lease.give_back()
