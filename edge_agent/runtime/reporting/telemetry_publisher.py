"""What the device tells its hub about itself: counters on a timer, through the outbox on disk.

Theory of operation. `TelemetryPublisher.turn` asks ``protocol.telemetry`` whether a body is due, and hands it
to ``protocol.outbox``, which numbers it, keeps it on disk until the broker has it (or the hub has confirmed
it) and sends it when the session has room. Nothing here needs a network: without one the outbox fills, inside
its limits. A disk that refuses to be read is counted and tried again `RETRY_S` later; the daemon goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edge_agent.errors import PlatformError
from edge_agent.protocol.outbox import Outbox
from edge_agent.protocol.ports import Received
from edge_agent.protocol.telemetry import Telemetry
from edge_agent.runtime.mqtt_dispatch import MqttDispatch

if TYPE_CHECKING:
    from edge_agent.runtime.daemon import Daemon
    from edge_agent.runtime.population.group import Group

RETRY_S = 5.0


class TelemetryPublisher:
    """Telemetry and its outbox.

    Parameters
    ----------
    telemetry : Telemetry
        When to say what.
    outbox : Outbox
        Where it waits.
    damaged : callable
        How many files of the outbox were set aside.
    """

    def __init__(self, telemetry: Telemetry, outbox: Outbox, damaged: Callable[[], int] = lambda: 0) -> None:
        self.telemetry = telemetry
        self.outbox = outbox
        self.unreadable = 0
        self._damaged = damaged
        self._peers: dict[str, int | float] = {}
        self._quiet_until = -math.inf
        self._daemon: Daemon | None = None
        self._link: MqttDispatch | None = None

    def attach(self, daemon: Daemon, link: MqttDispatch) -> None:
        """Tell about ``daemon`` on ``link``, where confirmations of the hub come in too."""
        self._daemon, self._link = daemon, link
        link.heed(self.outbox.delivered, self._online)
        if self.outbox.settings.confirm:
            link.listen(daemon.topics.confirm, self._confirmed)

    @property
    def deadline(self) -> float:
        """When `turn` has something to do, monotonic seconds."""
        stored = self.outbox.deadline
        due = self.telemetry.deadline if stored is None else min(self.telemetry.deadline, stored)
        return max(due, self._quiet_until)

    def turn(self) -> None:
        """Measure what is due, store what was measured, send what there is room for."""
        daemon, link = self._daemon, self._link
        if daemon is None or link is None:
            return
        now, t = daemon.clock.monotonic(), daemon.clock.time()
        if now < self._quiet_until:
            return
        if now >= self.telemetry.deadline:
            body = self.telemetry.due(counters(daemon), daemon.parts.rss(), now)
            if body is not None:
                self._add_peers(daemon, body)
                self.outbox.append(body, t, now)
        try:
            link.perform(self.outbox.turn(link.session, now, t))
        except PlatformError:
            self.unreadable += 1
            self._quiet_until = now + RETRY_S

    def status(self) -> dict[str, Any]:
        """Return what is in the outbox and what happened to it, in plain types."""
        return {
            "outbox": self.outbox.name,
            "backlog_bytes": self.outbox.backlog,
            "damaged_files": self._damaged(),
            "unreadable": self.unreadable,
            "failure": self.outbox.failure,
            **asdict(self.outbox.counters),
        }

    def _add_peers(self, daemon: Daemon, body: dict[str, Any]) -> None:
        """Add what changed among peers, or all of it to a complete body."""
        if daemon.parts.peering is None:
            return
        before, self._peers = self._peers, daemon.parts.peering.figures()
        told = before if body.get("delta") else {}
        changed = {key: value for key, value in self._peers.items() if told.get(key) != value}
        if changed:
            body["peers"] = changed

    def _online(self) -> None:
        self.telemetry.online()
        self.outbox.online()

    def _confirmed(self, message: Received) -> None:
        self.outbox.confirmed(message.payload)


def counters(daemon: Daemon) -> dict[str, dict[str, int | float]]:
    """Return the counters of each population, for `wire.bodies.TELEMETRY`."""
    return {name: _counters(daemon, name, group) for name, group in daemon.groups.items()}


def _counters(daemon: Daemon, name: str, group: Group) -> dict[str, int | float]:
    return {
        "tick": group.counters.ticks,
        "steps": group.counters.steps,
        "decisions": group.counters.steps * len(group.binding.controls),
        "contradictions": group.stepper.contradictions,
        "missed": daemon.pacing.missed(name),
        "observations": group.counters.observations,
        "actions": group.counters.actions,
        "silent": group.counters.stale,
        "faults": sum(group.intake.faults.values()),
        "latency_p99_ms": round(group.latency.quantile(0.99) * 1e3, 3),
    }
