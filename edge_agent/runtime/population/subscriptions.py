"""Which topics bring observations, and to which population a message that came belongs.

Theory of operation. A population's topics are asked for when it comes and given up when it goes; several may
want the same. A bulk topic names its population. Any other is looked up in the channels of the populations
that asked for that very topic, and of those that asked for a wildcard or for many topics. What comes on a
topic that is nobody's is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.population.channels import MAX_FILTERS
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
        self._exact: dict[str, list[Group]] = {}
        self._others: list[Group] = []

    def attach(self, link: MqttDispatch) -> None:
        """Ask ``link`` for topics."""
        self._link = link

    def begin(self, group: Group) -> None:
        """Ask for the topics of a population."""
        filters = self._filters(group)
        if self._exactly(filters):
            for topic in filters:
                self._exact.setdefault(topic, []).append(group)
        else:
            self._others.append(group)
        if self._link is not None:
            self._link.subscribe(filters)

    def end(self, groups: Iterable[Group]) -> None:
        """Give the topics of populations up."""
        given_up: list[str] = []
        for group in groups:
            filters = self._filters(group)
            given_up += filters
            if not self._exactly(filters):
                self._others.remove(group)
                continue
            for topic in filters:
                self._exact[topic].remove(group)
                if not self._exact[topic]:
                    del self._exact[topic]
        if self._link is not None:
            self._link.unsubscribe(given_up)

    def take(self, messages: Mapping[str, bytes], arrived: float) -> None:
        """Hand messages, by topic, to the populations that they are for."""
        for topic, payload in messages.items():
            group = self._groups.get(topic.removeprefix(self._bulk_prefix))
            if group is not None and group.config.bulk:
                group.intake.bulk(payload, arrived)
                continue
            known = False
            for candidate in (*self._exact.get(topic, ()), *self._others):
                known |= candidate.intake.message(topic, payload, arrived)
            self.unknown += not known

    @staticmethod
    def _exactly(filters: Sequence[str]) -> bool:
        """Whether a population can be found by the topics it asks for, with little memory."""
        return len(filters) <= MAX_FILTERS and not any("+" in topic for topic in filters)

    def _filters(self, group: Group) -> list[str]:
        bulk = [self._topics.bulk_in(group.config.name)] if group.config.bulk else []
        return group.intake.filters() + bulk
