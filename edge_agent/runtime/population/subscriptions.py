"""Which topics bring observations, and to which population a message that came belongs.

Theory of operation. A population's topics are asked for when it comes and given up when it goes; several may
want the same. A bulk topic names its population; any other is looked up in each population's channels. What
comes on a topic that is nobody's is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.population.group import Group
from edge_agent.wire.topics import DeviceTopics


class Subscriptions:
    """The sensor topics of all populations.

    Parameters
    ----------
    topics : DeviceTopics
        The device's.
    groups : mapping of str to Group
        The populations at work, always the present ones.
    """

    def __init__(self, topics: DeviceTopics, groups: Mapping[str, Group]) -> None:
        self.unknown = 0
        self._topics = topics
        self._groups = groups
        self._bulk_prefix = topics.bulk_in("")
        self._link: MqttDispatch | None = None

    def attach(self, link: MqttDispatch) -> None:
        """Ask ``link`` for topics."""
        self._link = link

    def begin(self, group: Group) -> None:
        """Ask for the topics of a population."""
        if self._link is not None:
            self._link.subscribe(self._filters(group))

    def end(self, groups: Iterable[Group]) -> None:
        """Give the topics of populations up."""
        if self._link is not None:
            self._link.unsubscribe([topic for group in groups for topic in self._filters(group)])

    def take(self, messages: Mapping[str, bytes], arrived: float) -> None:
        """Hand messages, by topic, to the populations that they are for."""
        for topic, payload in messages.items():
            group = self._groups.get(topic.removeprefix(self._bulk_prefix))
            if group is not None and group.config.bulk:
                group.intake.bulk(payload, arrived)
                continue
            known = False
            for candidate in self._groups.values():
                known |= candidate.intake.message(topic, payload, arrived)
            self.unknown += not known

    def _filters(self, group: Group) -> list[str]:
        bulk = [self._topics.bulk_in(group.config.name)] if group.config.bulk else []
        return group.intake.filters() + bulk
