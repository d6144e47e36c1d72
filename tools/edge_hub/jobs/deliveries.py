"""The sender: gives notices of alerts to their targets, each once as far as can be known.

Theory of operation. A notice is taken in a transaction that holds the evaluator's lease, then given to its
target, then marked as sent. If the process is killed before it was taken, the next sender takes it. If it is
killed after that, nobody can know whether the target has it: the next sender sends it again under the same
number and says so in the title. What a target does not take is tried again, ever later, for a day.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from edge_agent.errors import ConfigError, EdgeAgentError
from edge_hub.database import alerts, leases
from edge_hub.database.alerts import FAILED, SENT, WAITING, Notice
from edge_hub.database.engine import Database
from edge_hub.notify import Notifier

log = logging.getLogger("edge_hub")

PERIOD_S = 1.0
FIRST_RETRY_S = 5.0
LAST_RETRY_S = 600.0
GIVE_UP_S = 86_400.0


class Sender:
    """A thread that sends while this process has the evaluator's lease.

    Parameters
    ----------
    database : Database
        Where notices wait.
    lease : Lease
        The evaluator's.
    notifier : Notifier
        Sends.
    """

    def __init__(self, database: Database, lease: leases.Lease, notifier: Notifier) -> None:
        self._database = database
        self._lease = lease
        self._notifier = notifier
        self.failed: Callable[[], None] = lambda: None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-hub-notices")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the notice that is being sent, and wait for it."""
        self._stopped.set()
        self._thread.join()

    def send_next(self, now: float) -> bool:
        """Send one notice that is due; return whether there was one.

        Raises
        ------
        PlatformError
            The database is not there.
        """
        with self._database.read() as connection:
            if not alerts.is_due(connection, now):
                return False
        with self._database.write() as connection:
            if not self._lease.confirm(connection):
                return False
            taken = alerts.take_notice(connection, self._lease.holder, self._notifier.targets, now)
        if taken is None:
            return False
        state, again = self._send(taken, now)
        with self._database.write() as connection:
            alerts.finish_notice(connection, taken.id, self._lease.holder, state, now, again)
        return True

    def _send(self, taken: Notice, now: float) -> tuple[str, float]:
        """Return the notice's state after sending it, and when it is tried again."""
        title = f"{taken.title} (repeated)" if taken.repeated else taken.title
        try:
            if self._notifier.send(taken.target, title, taken.body, taken.severity):
                return SENT, 0.0
            reason = "the target did not take it"
        except ConfigError as error:
            reason = str(error)
        except Exception as error:  # a library's defect must not end the sender; the text may hold the URL
            reason = type(error).__name__
        if now - taken.created > GIVE_UP_S:
            log.error("alerts: notice %d to %s: %s; given up", taken.id, taken.target, reason)
            return FAILED, 0.0
        wait = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(taken.attempts - 1, 20))
        log.warning("alerts: notice %d to %s: %s; trying again in %g s", taken.id, taken.target, reason, wait)
        return WAITING, now + wait

    def _run(self) -> None:
        try:
            while not self._stopped.wait(PERIOD_S):
                self._turn()
        except Exception:
            log.exception("notices")
            self.failed()

    def _turn(self) -> None:
        try:
            while self._lease.held and not self._stopped.is_set() and self.send_next(time.time()):
                pass
        except EdgeAgentError as error:
            log.warning("alerts: %s; trying again", error)
