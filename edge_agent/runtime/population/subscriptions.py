"""Which topics bring observations, and to which population a message that came belongs.

Theory of operation. A population's topics are asked for when it comes and given up when it goes; several may
want the same. A bulk topic names its population; any other is looked up in each population's channels. What
comes on a topic that is nobody's is counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.runtime.mqtt_dispatch import MqttDispatch
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
        The populations at work.
    dispatch : MqttDispatch
        Subscribes.
    """

    def __init__(self, topics: DeviceTopics, populations: Populations, dispatch: MqttDispatch) -> None:
        self.unknown = 0
        self._topics = topics
        self._populations = populations
        self._dispatch = dispatch
        self._bulk_prefix = topics.bulk_in("")

    def begin(self, _name: str, group: Group) -> None:
        """Subscribe to the topics of a population."""
        self._dispatch.subscribe(self._filters(group))

    def end(self, _name: str, group: Group) -> None:
        """Unsubscribe from the topics of a population, as far as no other wants them."""
        self._dispatch.unsubscribe(self._filters(group))

    def take(self, messages: Mapping[str, bytes], arrived: float) -> None:
        """Hand messages, by topic, to the populations that they are for."""
        groups = self._populations.groups
        for topic, payload in messages.items():
            group = groups.get(topic.removeprefix(self._bulk_prefix))
            if group is not None and group.config.bulk:
                group.intake.bulk(payload, arrived)
                continue
            known = False
            for candidate in groups.values():
                known |= candidate.intake.message(topic, payload, arrived)
            self.unknown += not known

    def _filters(self, group: Group) -> list[str]:
        bulk = [self._topics.bulk_in(group.config.name)] if group.config.bulk else []
        return group.intake.filters() + bulk
