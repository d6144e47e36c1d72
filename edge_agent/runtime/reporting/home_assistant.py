"""Home Assistant's view of the device: announced on every connect, a state in JSON as often as telemetry.

Theory of operation. The announcement is retained, so that a Home Assistant that starts later finds it; it is
published again when populations came or went, and then removes the sensors of those that are gone. States are
neither retained nor kept for later: what Home Assistant wants to know is how it is now.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edge_agent import __version__
from edge_agent.protocol.ports import Publication
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.reporting.telemetry_publisher import counters
from edge_agent.wire import discovery

if TYPE_CHECKING:
    from edge_agent.runtime.daemon import Daemon


class HomeAssistantPublisher:
    """Announcement and states.

    Parameters
    ----------
    prefix : str
        Home Assistant's discovery prefix.
    seconds : float
        Between states.
    """

    def __init__(self, prefix: str, seconds: float) -> None:
        self._prefix = prefix
        self._seconds = seconds
        self._next = math.inf
        self._announced: tuple[str, ...] | None = None
        self._daemon: Daemon | None = None
        self._link: MqttDispatch | None = None

    def attach(self, daemon: Daemon, link: MqttDispatch) -> None:
        """Show ``daemon`` on ``link``."""
        self._daemon, self._link = daemon, link
        link.heed(lambda _token: None, self._online)

    @property
    def deadline(self) -> float:
        """When `turn` has something to do, monotonic seconds; never while nobody would hear it."""
        return self._next if self._link is not None and self._link.online else math.inf

    def turn(self) -> None:
        """Say what is due."""
        daemon, link = self._daemon, self._link
        if daemon is None or link is None or not link.online:
            return
        now = daemon.clock.monotonic()
        if now < self._next:
            return
        self._next = now + self._seconds
        if tuple(daemon.groups) != self._announced:
            self._announce(daemon, link)
        link.publish(Publication(daemon.topics.state, discovery.encode(state(daemon)), qos=0))

    def _announce(self, daemon: Daemon, link: MqttDispatch) -> None:
        topics, device = daemon.topics, daemon.config.device
        before, self._announced = self._announced or (), tuple(daemon.groups)
        message = discovery.announcement(topics, __version__, device.profile, self._announced, self._seconds)
        gone = [id_ for name in before for id_ in discovery.components(topics, name)]
        payload = discovery.encode(discovery.without(message, gone))
        link.publish(Publication(discovery.topic(self._prefix, topics), payload, retain=True))

    def _online(self) -> None:
        self._announced, self._next = None, 0.0


def state(daemon: Daemon) -> dict[str, Any]:
    """Return the state that the announcement's templates take apart."""
    governor, uplink = daemon.parts.governor, daemon.parts.uplink
    return {
        "rss": daemon.parts.rss(),
        "rung": "full" if governor is None else governor.name,
        "backlog": 0 if uplink is None else uplink.outbox.backlog,
        "populations": {
            name: {"agents": len(daemon.groups[name].names), **values}
            for name, values in counters(daemon).items()
        },
    }
