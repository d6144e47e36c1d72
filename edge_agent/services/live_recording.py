"""Records a population's messages from a broker until it is told to stop.

Theory of operation. A client of its own subscribes to the topics of the configuration. Messages go to a log
with their time of arrival; the log is saved at intervals and at the end, so a crash costs one interval at
most. If the connection is lost, another attempt follows after a pause that doubles up to ``MOST_PAUSE_S``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from edge_agent.errors import PlatformError
from edge_agent.protocol.ports import (
    MQTT_5,
    MQTT_311,
    Clock,
    Connected,
    Disconnected,
    Event,
    Received,
    Subscription,
)

log = logging.getLogger("edge_agent")

FIRST_PAUSE_S = 1.0
MOST_PAUSE_S = 60.0


class Subscriber(Protocol):
    """A client that announces nothing: see `protocol.ports.MqttClient`."""

    def connect(self, will: None, version: int) -> None:
        """Begin one attempt."""

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Subscribe to topic filters."""

    def acknowledge(self, acknowledge: int) -> None:
        """Tell the broker that a message was taken."""

    def events(self) -> Sequence[Event]:
        """Return what happened since the last call."""


class MessageLog(Protocol):
    """Where messages go."""

    @property
    def full(self) -> bool:
        """Whether no more is taken."""

    def filters(self) -> list[str]:
        """Return the topic filters to subscribe to."""

    def message(self, topic: str, payload: bytes, time: float) -> None:
        """Take a message in."""


class LiveRecording:
    """A recording in progress.

    Parameters
    ----------
    client : Subscriber
    sink : MessageLog
    clock : Clock
    save : callable
        Writes what was recorded so far.
    save_s : float
        Seconds between two saves.
    """

    def __init__(
        self, client: Subscriber, sink: MessageLog, clock: Clock, save: Callable[[], None], save_s: float
    ) -> None:
        self._client, self._log, self._clock = client, sink, clock
        self._save, self._save_s = save, save_s
        self._version = MQTT_5
        self._pause = FIRST_PAUSE_S
        self._connect_at: float | None = clock.monotonic()
        self._save_at = clock.monotonic() + save_s
        self.connected = False
        """Whether the broker has ever accepted the client."""

    def run_once(self) -> float:
        """Handle what happened; return the seconds until there may be something to do.

        Raises
        ------
        PlatformError
            The broker cannot be reached or refuses the client, and never accepted it.
        """
        for event in self._client.events():
            self._handle(event)
        now = self._clock.monotonic()
        if self._connect_at is not None and now >= self._connect_at:
            self._connect_at = None
            self._client.connect(None, self._version)
        if now >= self._save_at:
            self._save()
            self._save_at = now + self._save_s
        due = self._save_at if self._connect_at is None else min(self._save_at, self._connect_at)
        return max(0.0, due - now)

    def _handle(self, event: Event) -> None:
        match event:
            case Connected():
                self.connected = True
                self._pause = FIRST_PAUSE_S
                self._client.subscribe([Subscription(topic) for topic in self._log.filters()])
            case Received():
                self._log.message(event.topic, event.payload, self._clock.time())
                if event.acknowledge is not None:
                    self._client.acknowledge(event.acknowledge)
            case Disconnected(unsupported=True) if self._version == MQTT_5:
                self._version = MQTT_311
                self._connect_at = self._clock.monotonic()
            case Disconnected():
                if not self.connected:
                    raise PlatformError(event.reason)
                log.warning("%s; trying again in %g s", event.reason, self._pause)
                self._connect_at = self._clock.monotonic() + self._pause
                self._pause = min(2.0 * self._pause, MOST_PAUSE_S)
            case _:
                pass
