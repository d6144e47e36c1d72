"""Home Assistant's view of the device: announced on every connect, a state in JSON as often as telemetry.

Theory of operation. The announcement is retained, so that a Home Assistant that starts later finds it; it is
published again when populations came or went, and then removes the sensors of those that are gone. States are
neither retained nor kept for later: what Home Assistant wants to know is how it is now.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from edge_agent.protocol.ports import Clock, Publication
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.reporting.population_counters import population_counters
from edge_agent.runtime.step_schedule import StepSchedule
from edge_agent.version import __version__
from edge_agent.wire import discovery
from edge_agent.wire.topics import DeviceTopics


class HomeAssistantPublisher:
    """Announcement and states.

    Parameters
    ----------
    prefix : str
        Home Assistant's discovery prefix.
    seconds : float
        Between states.
    topics : DeviceTopics
        The device's.
    populations, schedule : Populations, StepSchedule
        What is shown.
    dispatch : MqttDispatch
        Publishes.
    clock : Clock
        Monotonic time.
    figures : callable
        Returns the figures of the device itself, as in `wire.discovery`: ``rss``, ``rung`` and ``backlog``.
    """

    def __init__(
        self,
        prefix: str,
        seconds: float,
        *,
        topics: DeviceTopics,
        populations: Populations,
        schedule: StepSchedule,
        dispatch: MqttDispatch,
        clock: Clock,
        figures: Callable[[], dict[str, Any]],
    ) -> None:
        self._prefix = prefix
        self._seconds = seconds
        self._topics = topics
        self._populations = populations
        self._schedule = schedule
        self._dispatch = dispatch
        self._clock = clock
        self._figures = figures
        self._next = math.inf
        self._announced: tuple[str, ...] | None = None
        dispatch.heed(lambda _token: None, self._online)

    def start(self) -> None:
        """Nothing to do before the first connect."""

    @property
    def deadline(self) -> float:
        """When `turn` has something to do, monotonic seconds; never while nobody would hear it."""
        return self._next if self._dispatch.online else math.inf

    def turn(self) -> None:
        """Publish what is due."""
        now = self._clock.monotonic()
        if now < self._next or not self._dispatch.online:
            return
        self._next = now + self._seconds
        if tuple(self._populations.groups) != self._announced:
            self._announce()
        self._dispatch.publish(Publication(self._topics.state, discovery.encode(self._state()), qos=0))

    def stop(self) -> None:
        """Nothing to say at the end: the will tells that the device is gone."""

    def _announce(self) -> None:
        topics, profile = self._topics, self._populations.config.device.profile
        before, self._announced = self._announced or (), tuple(self._populations.groups)
        message = discovery.announcement(topics, __version__, profile, self._announced, self._seconds)
        gone = [id_ for name in before for id_ in discovery.components(topics, name)]
        payload = discovery.encode(discovery.without(message, gone))
        self._dispatch.publish(Publication(discovery.topic(self._prefix, topics), payload, retain=True))

    def _online(self) -> None:
        self._announced, self._next = None, 0.0

    def _state(self) -> dict[str, Any]:
        """Return what a state message says."""
        groups = self._populations.groups
        counters = population_counters(self._populations, self._schedule)
        return {
            **self._figures(),
            "populations": {
                name: {"agents": len(groups[name].names), **values} for name, values in counters.items()
            },
        }
