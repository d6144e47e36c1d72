"""What the service does once in a while: roll telemetry up, delete what is too old or too much.

Theory of operation. One process at a time, by a lease that is renewed between transactions. Whoever loses it
stops, and the next one goes on where the database stands. Telemetry is deleted only after everything that
arrived was rolled up.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass

from edge_agent.errors import EdgeAgentError
from edge_hub.database import accounts, alerts, expiry, leases, rollups
from edge_hub.database.engine import Database
from edge_hub.domain.days import DAY_S

log = logging.getLogger("edge_hub")

LEASE = "maintenance"
INTERVAL_S = 60.0
SWEEP_S = 600.0
LEASE_S = 300.0
REJECTED_DAYS = 30.0
FRESH_S = 3600.0
"""Telemetry that arrived so lately is not deleted to save space."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much is kept: ``bytes`` of telemetry, 0 for no limit."""

    days: float = 30.0
    rollup_days: float = 365.0
    bytes: int = 0


class Maintenance:
    """A thread.

    Parameters
    ----------
    database : Database
        Of what.
    keep : Retention
        What is kept.
    """

    def __init__(self, database: Database, keep: Retention) -> None:
        self._database = database
        self._keep = keep
        self._lease = leases.Lease(database, LEASE, LEASE_S)
        self._stopped = threading.Event()
        self._swept = -SWEEP_S
        self._thread = threading.Thread(target=self._run, name="edge-hub-maintenance")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._stopped.set()
        self._thread.join()

    def sweep(self, now: float) -> None:
        """Roll up, then delete what is too old or too much.

        Raises
        ------
        PlatformError
            The database is not there.
        """
        if not rollups.advance(self._database, now, self._may_go_on):
            return
        deleted = expiry.telemetry(self._database, now - self._keep.days * DAY_S)
        if self._keep.bytes:
            deleted += expiry.telemetry_over(self._database, self._keep.bytes, now - FRESH_S)
        expiry.rolled_up(self._database, now - self._keep.rollup_days * DAY_S)
        expiry.learned(self._database, now - self._keep.rollup_days * DAY_S, now - self._keep.days * DAY_S)
        expiry.rejected(self._database, now - REJECTED_DAYS * DAY_S)
        accounts.expire(self._database, now)
        alerts.expire(self._database, now - self._keep.rollup_days * DAY_S)
        if deleted:
            log.info("telemetry: %d %s deleted", deleted, "rows" if self._database.sqlite else "days")

    def _may_go_on(self) -> bool:
        return not self._stopped.is_set() and self._lease.acquire()

    def _turn(self) -> None:
        if not self._lease.acquire():
            return
        if time.monotonic() - self._swept < SWEEP_S:
            rollups.advance(self._database, time.time(), self._may_go_on)
            return
        self.sweep(time.time())
        self._swept = time.monotonic()

    def _run(self) -> None:
        while True:
            try:
                self._turn()
            except EdgeAgentError as error:
                log.warning("maintenance: %s; trying again", error)
            if self._stopped.wait(INTERVAL_S):
                break
        with contextlib.suppress(EdgeAgentError):
            self._lease.give_back()
