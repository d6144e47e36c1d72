"""Publishes telemetry to the hub: counters on a timer, through the outbox on disk.

Theory of operation. `TelemetryPublisher.run_once` asks ``protocol.telemetry`` whether a body is due, and
hands it to ``protocol.outbox``, which numbers it, keeps it on disk until the broker has it (or the hub has
confirmed it) and sends it when the session has room. Nothing here needs a network: without one the outbox
fills, inside its limits. A disk that refuses to be read is counted and tried again `RETRY_S` later; the
daemon goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edge_agent.errors import PlatformError
from edge_agent.protocol.outbox import Outbox
from edge_agent.protocol.ports import Clock, Received
from edge_agent.protocol.telemetry import Telemetry
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.reporting.health_figures import HealthFigures
from edge_agent.runtime.reporting.population_counters import population_counters
from edge_agent.runtime.step_schedule import StepSchedule
from edge_agent.wire.topics import DeviceTopics

if TYPE_CHECKING:
    from edge_agent.runtime.reporting.agent_samples import AgentSamples

RETRY_S = 1.0


class TelemetryPublisher:
    """Telemetry and its outbox.

    Parameters
    ----------
    telemetry : Telemetry
        When to say what.
    outbox : Outbox
        Where it waits.
    damaged : callable
        Returns how many files of the outbox were set aside.
    topics : DeviceTopics
        The device's.
    populations, schedule : Populations, StepSchedule
        Whose counters are sent.
    dispatch : MqttDispatch
        Sends; confirmations of the hub come in there too.
    clock : Clock
        Time.
    rss : callable
        Returns the bytes of the process in memory.
    peer_figures : callable, optional
        Returns the counters of the device among its peers.
    health : HealthFigures, optional
        The state of board and daemon.
    samples : AgentSamples, optional
        The series of chosen agents.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        outbox: Outbox,
        damaged: Callable[[], int],
        *,
        topics: DeviceTopics,
        populations: Populations,
        schedule: StepSchedule,
        dispatch: MqttDispatch,
        clock: Clock,
        rss: Callable[[], int],
        peer_figures: Callable[[], dict[str, int | float]] | None = None,
        health: HealthFigures | None = None,
        samples: AgentSamples | None = None,
    ) -> None:
        self.telemetry = telemetry
        self.outbox = outbox
        self.unreadable = 0
        self._damaged = damaged
        self._populations = populations
        self._schedule = schedule
        self._dispatch = dispatch
        self._clock = clock
        self._rss = rss
        self._peer_figures = peer_figures
        self._health = health
        self._samples = samples
        self._peers: dict[str, int | float] = {}
        self._kept_out: dict[str, int] = {}
        self._quiet_until = -math.inf
        dispatch.add_callbacks(outbox.delivered, self._online)
        if outbox.settings.confirm:
            dispatch.listen(topics.confirm, self._confirmed)

    def start(self) -> None:
        """Nothing to do before the first turn."""

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds."""
        stored = self.outbox.deadline
        due = self.telemetry.deadline if stored is None else min(self.telemetry.deadline, stored)
        if self._samples is not None:
            due = min(due, self._samples.deadline)
        return max(due, self._quiet_until)

    def run_once(self) -> None:
        """Measure what is due, store what was measured, send what there is room for."""
        now, t = self._clock.monotonic(), self._clock.time()
        if now < self._quiet_until:
            return
        if self._samples is not None:
            self._samples.run_once(now, t)
        if now >= self.telemetry.deadline:
            counters = population_counters(self._populations, self._schedule)
            health = None if self._health is None else self._health.figures()
            body = self.telemetry.due(counters, self._rss(), now, health)
            if body is not None:
                self._add_peers(body)
                self._add_broker(body)
                self.outbox.append(body, t, now)
        elif self.outbox.idle:
            return
        try:
            self._dispatch.perform(self.outbox.advance(self._dispatch.session, now, t))
        except PlatformError:
            self.unreadable += 1
            self._quiet_until = now + RETRY_S

    def stop(self) -> None:
        """Nothing to say at the end; `services.telemetry_outbox` stores what is pending."""

    def status(self) -> dict[str, Any]:
        """Return what is in the outbox and what happened to it, in plain types."""
        return {
            "outbox": self.outbox.name,
            "backlog_bytes": self.outbox.backlog,
            "damaged_files": self._damaged(),
            "unreadable": self.unreadable,
            "failure": self.outbox.failure,
            "samples_thinned": 0 if self.telemetry.samples is None else self.telemetry.samples.thinned,
            "samples_paused": 0 if self._samples is None else self._samples.paused,
            **asdict(self.outbox.counters),
        }

    def _add_peers(self, body: dict[str, Any]) -> None:
        """Add what changed among peers, or all of it to a complete body."""
        if self._peer_figures is None:
            return
        before, self._peers = self._peers, self._peer_figures()
        known = before if body.get("delta") else {}
        changed = {key: value for key, value in self._peers.items() if known.get(key) != value}
        if changed:
            body["peers"] = changed

    def _add_broker(self, body: dict[str, Any]) -> None:
        """Add what was kept out, if it changed; a complete body has all of it, unless it is all 0."""
        before, self._kept_out = self._kept_out, dict(self._dispatch.kept_out())
        known = before if body.get("delta") else {}
        changed = {key: value for key, value in self._kept_out.items() if known.get(key, 0) != value}
        if changed:
            body["broker"] = changed

    def _online(self) -> None:
        self.telemetry.online()
        self.outbox.online()

    def _confirmed(self, message: Received) -> None:
        self.outbox.confirmed(message.payload)
