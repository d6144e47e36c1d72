"""Logs the connection to the broker: one line per change, not per attempt.

Theory of operation. `ConnectionLog.update` is called in every turn. It logs when the device comes online and
why a connection or an attempt failed. A failure that was logged is not repeated until a connection has held
for `STEADY_S` seconds, nor are the short connections between such failures. So a broker that is down for a
week, or one that brings the same unreadable message on every connect, makes one line.
"""

from __future__ import annotations

import logging

from edge_agent.protocol.session import Session, SessionState

STEADY_S = 60.0
MAX_REASONS = 8
log = logging.getLogger("edge_agent")
_NAMES = {4: "3.1.1", 5: "5"}


class ConnectionLog:
    """Follows one session; ``where`` names the broker."""

    def __init__(self, session: Session, where: str) -> None:
        self._session = session
        self._where = where
        self._said: dict[str, None] = {}
        self._failures = 0
        self._since: float | None = None
        self._connects = 0
        self._unsteady = False

    def update(self, now: float) -> None:
        """Say what changed; ``now`` in monotonic seconds."""
        session = self._session
        online = session.state is SessionState.ONLINE
        if self._since is not None and (not online or session.counters.connects != self._connects):
            self._unsteady = now - self._since < STEADY_S
            self._since = None
        if session.failures != self._failures:
            self._failures = session.failures
            self._say(session.last_reason)
        if online and self._since is None:
            self._since, self._connects = now, session.counters.connects
            if not self._unsteady:
                self._connected()
        if self._since is not None and now - self._since >= STEADY_S and self._said:
            self._said.clear()
            if self._unsteady:
                self._unsteady = False
                self._connected()

    def _connected(self) -> None:
        log.info("broker: %s: connected (MQTT %s)", self._where, _NAMES[self._session.version])

    def _say(self, reason: str) -> None:
        if reason in self._said:
            return
        if len(self._said) >= MAX_REASONS:
            del self._said[next(iter(self._said))]
        self._said[reason] = None
        log.warning("broker: %s; trying again", reason)
