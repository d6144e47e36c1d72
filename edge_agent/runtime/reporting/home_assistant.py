"""Publishes the device to Home Assistant: discovery on every connect, and a state at the telemetry interval.

Theory of operation. The announcement is retained, so that a Home Assistant that starts later finds it; it is
published again when populations came or went, and when Home Assistant says that it is online. States are
neither retained nor kept for later: what Home Assistant wants to know is how it is now. It subscribes to the
state only some time after it received the announcement, so the first states follow each other after 1, 2, 4,
… seconds. The state of an orderly stop says ``online`` false, and Home Assistant shows the device as
unavailable at once.

Populations that are gone are known from the record on disk (`DiscoveryRecord`). Home Assistant removes a
component only if it has discovered it in this run of its own. So after a start of the daemon or of Home
Assistant, what is gone is announced once more as it was, and `SETTLE_S` later as removed; Home Assistant
drops a removal that arrives while it still sets the component up. The record forgets what is gone when that
was done for a Home Assistant that had just said that it is online.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from edge_agent.protocol.ports import Clock, Publication, Received
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.population.checkpoint import StateStore
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.reporting.discovery_record import DiscoveryRecord
from edge_agent.runtime.reporting.population_counters import population_counters
from edge_agent.runtime.step_schedule import StepSchedule
from edge_agent.version import __version__
from edge_agent.wire import discovery
from edge_agent.wire.topics import DeviceTopics

log = logging.getLogger("edge_agent")

FIRST_S = 1.0
"""Seconds between the first two states after an announcement."""
SETTLE_S = 10.0
"""Seconds that Home Assistant gets to set components up before they are removed."""
ONLINE = b"online"


class HomeAssistantPublisher:
    """Announcement and states.

    Parameters
    ----------
    prefix : str
        Home Assistant's discovery prefix; empty takes an earlier announcement back and does nothing else.
    seconds : float
        Between states.
    topics : DeviceTopics
        The device's.
    store : StateStore, optional
        Where it is noted what was announced.
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
        store: StateStore | None,
        populations: Populations,
        schedule: StepSchedule,
        dispatch: MqttDispatch,
        clock: Clock,
        figures: Callable[[], dict[str, Any]],
    ) -> None:
        self._prefix = prefix
        self._seconds = seconds
        self._topic = discovery.topic(prefix, topics) if prefix else ""
        self._record = DiscoveryRecord(store, self._topic)
        self._next = self._remove_at = math.inf
        self._pause = FIRST_S
        self._said = 0.0
        self._announced: tuple[str, ...] | None = None
        self._shown: tuple[str, ...] = ()
        self._removed: set[str] = set()
        self._restarted = False
        self._emptying: dict[int, str] = {}
        self._topics = topics
        self._populations = populations
        self._schedule = schedule
        self._dispatch = dispatch
        self._clock = clock
        self._figures = figures
        dispatch.add_callbacks(self._delivered, self._online)
        if prefix:
            dispatch.listen(discovery.status_topic(prefix), self._status)

    def start(self) -> None:
        """Nothing to do before the first connect."""

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds; never while nobody would hear it."""
        return min(self._next, self._remove_at) if self._dispatch.online else math.inf

    def run_once(self) -> None:
        """Say what is due."""
        if not self._dispatch.online:
            return
        now = self._clock.monotonic()
        if now >= self._remove_at:
            self._remove()
        if now < self._next:
            return
        self._announce(now)
        self._dispatch.publish(Publication(self._topics.state, discovery.encode(self._state()), qos=0))
        self._said, self._next = now, now + min(self._pause, self._seconds)
        self._pause = min(2 * self._pause, self._seconds)

    def changed(self) -> None:
        """Take note that populations came or went."""
        self._next = min(self._next, 0.0 if self._prefix else math.inf)

    def stop(self) -> None:
        """Say that the device goes offline."""
        if self._announced is not None:
            payload = discovery.encode(self._state() | {"online": False})
            self._dispatch.publish(Publication(self._topics.state, payload, qos=0))

    def _announce(self, now: float) -> None:
        """Announce the populations if they are not, or not these."""
        populations, before = tuple(self._populations.groups), self._announced
        if populations == before:
            return
        self._announced = populations
        self._shown = discovery.fitting(self._topics, populations, self._seconds)
        if self._shown != populations:
            count = len(self._shown)
            log.warning("home assistant: shows the first %d of %d populations", count, len(populations))
        self._record.note(self._shown)
        returning = [name for name in self._record.gone if name not in self._removed]
        if before is None and returning:
            self._remove_at = now + SETTLE_S
            both = discovery.fitting(self._topics, (*self._shown, *returning), self._seconds)
            self._publish(both)
        else:
            self._remove()
        self._pause = FIRST_S

    def _remove(self) -> None:
        """Announce the populations, and that all others are gone."""
        self._remove_at = math.inf
        self._publish(self._shown, self._record.gone)
        self._removed.update(self._record.gone)
        if self._restarted:
            self._restarted = False
            self._record.forget()

    def _publish(self, populations: tuple[str, ...], gone: tuple[str, ...] = ()) -> None:
        topics, profile = self._topics, self._populations.config.device.profile
        message = discovery.announcement(topics, __version__, profile, populations, self._seconds)
        removed = [id_ for name in gone for id_ in discovery.components(topics, name)]
        payload = discovery.encode(discovery.without(message, removed))
        self._dispatch.publish(Publication(self._topic, payload, retain=True))

    def _online(self) -> None:
        """Begin anew on each connect."""
        self._announced, self._remove_at = None, math.inf
        self._next = 0.0 if self._prefix else math.inf
        self._emptying.clear()
        for topic in self._record.stale:
            empty = Publication(topic, b"", retain=True)
            token, effects = self._dispatch.session.publish(empty, self._clock.monotonic())
            self._emptying[token] = topic
            self._dispatch.perform(effects)

    def _delivered(self, token: int) -> None:
        topic = self._emptying.pop(token, None)
        if topic is not None:
            self._record.emptied(topic)

    def _status(self, message: Received) -> None:
        """Begin anew when Home Assistant has started; the retained message is older than this connection."""
        if message.payload != ONLINE or message.retain:
            return
        self._announced, self._remove_at = None, math.inf
        self._restarted = True
        self._removed.clear()
        self._next = min(self._next, self._said + FIRST_S)

    def _state(self) -> dict[str, Any]:
        """Return the state of the device and of the populations shown, as the announcement's templates read
        it.
        """
        groups = self._populations.groups
        counters = population_counters(self._populations, self._schedule)
        return {
            "online": True,
            **self._figures(),
            "populations": {
                name: {"agents": len(groups[name].names), **values}
                for name, values in counters.items()
                if name in self._shown
            },
        }
