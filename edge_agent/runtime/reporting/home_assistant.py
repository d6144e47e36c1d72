"""Home Assistant's view of the device: announced on every connect, a state in JSON as often as telemetry.

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
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from edge_agent import __version__
from edge_agent.protocol.ports import Publication, Received
from edge_agent.runtime.discovery_record import DiscoveryRecord
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.reporting.telemetry_publisher import counters
from edge_agent.wire import discovery
from edge_agent.wire.topics import DeviceTopics

if TYPE_CHECKING:
    from edge_agent.runtime.daemon import Daemon
    from edge_agent.runtime.population.checkpoint import StateStore

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
    """

    def __init__(
        self, prefix: str, seconds: float, topics: DeviceTopics, store: StateStore | None = None
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
        self._heard = False
        self._emptying: dict[int, str] = {}
        self._daemon: Daemon | None = None
        self._link: MqttDispatch | None = None

    def attach(self, daemon: Daemon, link: MqttDispatch) -> None:
        """Show ``daemon`` on ``link``."""
        self._daemon, self._link = daemon, link
        link.heed(self._delivered, self._online)
        if self._prefix:
            link.listen(discovery.status_topic(self._prefix), self._status)

    @property
    def deadline(self) -> float:
        """When `turn` has something to do, monotonic seconds; never while nobody would hear it."""
        online = self._link is not None and self._link.online
        return min(self._next, self._remove_at) if online else math.inf

    def turn(self) -> None:
        """Say what is due."""
        daemon, link = self._daemon, self._link
        if daemon is None or link is None or not link.online:
            return
        now = daemon.clock.monotonic()
        if now >= self._remove_at:
            self._remove(daemon, link)
        if now < self._next:
            return
        self._announce(daemon, link, now)
        link.publish(Publication(daemon.topics.state, discovery.encode(state(daemon, self._shown)), qos=0))
        self._said, self._next = now, now + min(self._pause, self._seconds)
        self._pause = min(2 * self._pause, self._seconds)

    def changed(self) -> None:
        """Take note that populations came or went."""
        self._next = min(self._next, 0.0 if self._prefix else math.inf)

    def stop(self) -> None:
        """Say that the device goes offline."""
        daemon, link = self._daemon, self._link
        if daemon is not None and link is not None and self._announced is not None:
            payload = discovery.encode(state(daemon, self._shown) | {"online": False})
            link.publish(Publication(daemon.topics.state, payload, qos=0))

    def _announce(self, daemon: Daemon, link: MqttDispatch, now: float) -> None:
        """Announce the populations if they are not, or not these."""
        populations, before = tuple(daemon.groups), self._announced
        if populations == before:
            return
        self._announced = populations
        self._shown = discovery.fitting(daemon.topics, populations, self._seconds)
        if self._shown != populations:
            count = len(self._shown)
            log.warning("home assistant: shows the first %d of %d populations", count, len(populations))
        self._record.note(self._shown)
        returning = [name for name in self._record.gone if name not in self._removed]
        if before is None and returning:
            self._remove_at = now + SETTLE_S
            both = discovery.fitting(daemon.topics, (*self._shown, *returning), self._seconds)
            self._publish(daemon, link, both)
        else:
            self._remove(daemon, link)
        self._pause = FIRST_S

    def _remove(self, daemon: Daemon, link: MqttDispatch) -> None:
        """Announce the populations, and that all others are gone."""
        self._remove_at = math.inf
        self._publish(daemon, link, self._shown, self._record.gone)
        self._removed.update(self._record.gone)
        if self._heard:
            self._heard = False
            self._record.forget()

    def _publish(
        self, daemon: Daemon, link: MqttDispatch, populations: tuple[str, ...], gone: tuple[str, ...] = ()
    ) -> None:
        topics, profile = daemon.topics, daemon.config.device.profile
        message = discovery.announcement(topics, __version__, profile, populations, self._seconds)
        removed = [id_ for name in gone for id_ in discovery.components(topics, name)]
        payload = discovery.encode(discovery.without(message, removed))
        link.publish(Publication(self._topic, payload, retain=True))

    def _online(self) -> None:
        """Begin anew on each connect."""
        self._announced, self._remove_at = None, math.inf
        self._next = 0.0 if self._prefix else math.inf
        self._emptying.clear()
        if self._link is not None and self._daemon is not None:
            for topic in self._record.stale:
                empty = Publication(topic, b"", retain=True)
                token, effects = self._link.session.publish(empty, self._daemon.clock.monotonic())
                self._emptying[token] = topic
                self._link.perform(effects)

    def _delivered(self, token: int) -> None:
        topic = self._emptying.pop(token, None)
        if topic is not None:
            self._record.emptied(topic)

    def _status(self, message: Received) -> None:
        """Begin anew when Home Assistant has started; the retained message is older than this connection."""
        if message.payload != ONLINE or message.retain:
            return
        self._announced, self._remove_at = None, math.inf
        self._heard = True
        self._removed.clear()
        self._next = min(self._next, self._said + FIRST_S)


def state(daemon: Daemon, populations: Collection[str]) -> dict[str, Any]:
    """Return the state of the device and of these populations, as the announcement's templates read it."""
    governor, uplink = daemon.parts.governor, daemon.parts.uplink
    return {
        "online": True,
        "rss": daemon.parts.rss(),
        "rung": "full" if governor is None else governor.name,
        "backlog": 0 if uplink is None else uplink.outbox.backlog,
        "populations": {
            name: {"agents": len(daemon.groups[name].names), **values}
            for name, values in counters(daemon).items()
            if name in populations
        },
    }
