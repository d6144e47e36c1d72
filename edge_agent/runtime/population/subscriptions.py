"""Subscriptions for observations, and the population that a message belongs to.

Theory of operation. A population's topics are subscribed to when it is added and given up when it is removed;
several may want the same. A bulk topic names its population. Any other is looked up in the channels of the
populations that asked for that very topic, and of those that asked for a wildcard or for many topics. What
arrives on an unknown topic is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.population.channels import MAX_FILTERS
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.populations import Populations
from edge_agent.wire.topics import DeviceTopics


class Subscriptions:
    """The sensor topics of all populations.

    Parameters
    ----------
    topics : DeviceTopics
        The device's.
    populations : Populations
        The running populations.
    dispatch : MqttDispatch
        Subscribes.
    """

    def __init__(self, topics: DeviceTopics, populations: Populations, dispatch: MqttDispatch) -> None:
        self.unknown = 0
        self._topics = topics
        self._populations = populations
        self._dispatch = dispatch
        self._bulk_prefix = topics.bulk_in("")
        self._exact: dict[str, list[Group]] = {}
        self._others: list[Group] = []
        self._watched: dict[str, list[Callable[[bytes], None]]] = {}
        dispatch.needs_each = self.needs_each

    def begin(self, _name: str, group: Group) -> None:
        """Subscribe to the topics of a population."""
        filters = self._filters(group)
        if _exact(filters):
            for topic in filters:
                self._exact.setdefault(topic, []).append(group)
        else:
            self._others.append(group)
        self._dispatch.subscribe(filters)

    def end(self, _name: str, group: Group) -> None:
        """Unsubscribe from the topics of a population, as far as no other wants them."""
        filters = self._filters(group)
        if _exact(filters):
            for topic in filters:
                self._exact[topic].remove(group)
                if not self._exact[topic]:
                    del self._exact[topic]
        else:
            self._others.remove(group)
        self._dispatch.unsubscribe(filters)

    def watch(self, topic: str, listener: Callable[[bytes], None]) -> None:
        """Hand payloads on ``topic`` to ``listener`` as well, the newest of each turn."""
        self._watched.setdefault(topic, []).append(listener)
        self._dispatch.subscribe([topic])

    def needs_each(self, topic: str) -> bool:
        """Whether a population counts the messages on ``topic`` one by one."""
        return any(group.inputs.needs_each(topic) for group in (*self._exact.get(topic, ()), *self._others))

    def deliver(self, messages: Iterable[tuple[str, bytes]], arrived: float, unix: float) -> None:
        """Hand messages (topic, payload) to the populations that they are for.

        ``arrived`` is the time of arrival, monotonic seconds, and ``unix`` the same in Unix time.
        """
        groups, prefix, watched, exact = (
            self._populations.groups,
            self._bulk_prefix,
            self._watched,
            self._exact,
        )
        for topic, payload in messages:
            if topic.startswith(prefix):
                group = groups.get(topic.removeprefix(prefix))
                if group is not None and group.config.bulk:
                    group.inputs.bulk(payload, arrived)
                    continue
            known = False
            if topic in watched:
                known = True
                for listener in watched[topic]:
                    listener(payload)
            if topic in exact:
                for candidate in exact[topic]:
                    known |= candidate.inputs.message(topic, payload, arrived, unix)
            for candidate in self._others:
                known |= candidate.inputs.message(topic, payload, arrived, unix)
            self.unknown += not known

    def _filters(self, group: Group) -> list[str]:
        bulk = [self._topics.bulk_in(group.config.name)] if group.config.bulk else []
        return group.inputs.filters() + bulk


def _exact(filters: Sequence[str]) -> bool:
    """Whether a population can be found by the topics it asks for, with little memory."""
    return len(filters) <= MAX_FILTERS and not any("+" in topic for topic in filters)
