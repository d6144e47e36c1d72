"""The birth message: identity and populations of the device; with ``online`` false it is the will."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_agent.protocol.ports import Clock, Publication
from edge_agent.runtime.populations import Populations
from edge_agent.version import __version__
from edge_agent.wire import bodies
from edge_agent.wire.messages import Message, encode
from edge_agent.wire.topics import DeviceTopics

MAX_WILL_BYTES = 65_535  # MQTT 3.1.1 section 3.1.3.3, MQTT 5.0 section 3.1.3.4


class Birth:
    """Makes birth messages.

    Parameters
    ----------
    topics : DeviceTopics
        Fleet and device.
    populations : Populations
        What runs.
    boot : str
        Unique to this start of the process.
    lost_state : sequence of str
        A line for each file of state that could not be used.
    rss : callable
        Returns the bytes of the process in memory.
    clock : Clock
        Unix time.
    """

    def __init__(
        self,
        topics: DeviceTopics,
        populations: Populations,
        boot: str,
        lost_state: Sequence[str],
        rss: Callable[[], int],
        clock: Clock,
    ) -> None:
        self.incarnation: Callable[[bool], int | None] = lambda _online: None
        """Returns the incarnation that a birth announces, or that a will ends; a device with peers sets
        it.
        """
        self._topics = topics
        self._populations = populations
        self._boot = boot
        self._lost_state = lost_state
        self._rss = rss
        self._clock = clock

    def message(self, online: bool) -> Publication:
        """Return the birth, or the will, which is without populations where those are too many."""
        device = self._populations.config.device
        groups = self._populations.groups
        running = {name: (group.digest, len(group.names)) for name, group in groups.items()}
        body = bodies.birth(
            online,
            device.name,
            __version__,
            self._boot,
            device.profile,
            running,
            self.incarnation(online),
            self._rss(),
        )
        if online and self._lost_state:
            body["lost_state"] = list(self._lost_state)
        payload = encode(Message(body, t=self._clock.time()))
        if not online and len(payload) > MAX_WILL_BYTES:
            del body["populations"]
            payload = encode(Message(body, t=self._clock.time()))
        return Publication(self._topics.birth, payload, qos=1, retain=True)
