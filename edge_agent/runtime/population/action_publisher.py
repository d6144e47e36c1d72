"""Publishes actions: one message per agent, to MQTT or another sink, or one bulk message per population.

Theory of operation. Which sink a control's actions go to is configured; ``mqtt`` is this file's own. What a
sink does not take, since there is no broker or it is away, is tried again with the agent's next step
(`runtime.population.actuators`). Bulk messages are not: the next one has all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.records import ActConfig
from edge_agent.protocol.ports import Clock, Publication
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.population.actuators import Sink
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.safe_state import Executed
from edge_agent.wire.messages import Message, encode
from edge_agent.wire.topics import DeviceTopics


class ActionPublisher:
    """The way out of all populations.

    Parameters
    ----------
    topics : DeviceTopics
        The device's.
    sinks : mapping of str to Sink
        Those beside MQTT, by name.
    clock : Clock
        Time.
    dispatch : MqttDispatch, optional
        Publishes; without one MQTT takes nothing.
    """

    def __init__(
        self, topics: DeviceTopics, sinks: Mapping[str, Sink], clock: Clock, dispatch: MqttDispatch | None
    ) -> None:
        self.watchers: list[Callable[[Group, NDArray[np.intp], NDArray[np.int16]], None]] = []
        """Called with the population, agents (n,) and actions (n, F) that are to be published."""
        self._topics = topics
        self._sinks: dict[str, Sink] = {"mqtt": self._to_mqtt, **sinks}
        self._clock = clock
        self._dispatch = dispatch
        self._sequence = 0

    def publish(self, group: Group, agents: NDArray[np.intp], actions: NDArray[np.int16]) -> None:
        """Send actions (n, F) of a population one by one, as far as they are new."""
        group.publish(agents, actions, self._send, self._clock.monotonic)
        for watcher in self.watchers:
            watcher(group, agents, actions)

    def release(self, group: Group) -> Executed | None:
        """Send a population's waiting actions whose dwell is over; return what the agents execute now."""
        return group.release(self._send, self._clock.monotonic())

    def bulk(self, group: Group, agents: NDArray[np.intp], actions: NDArray[np.int16]) -> None:
        """Send actions (n, F) little-endian; -2 is "hold safe"; ``agents`` (int32) where not all stepped.

        ``of`` is the sequence number of the observations they answer, ``horizon`` (steps) is there while the
        board plans shorter than the model would. A population without bulk messages has none.
        """
        if self._dispatch is None or not group.config.bulk:
            return
        body: dict[str, Any] = {
            "tick": group.counters.ticks,
            "of": group.inputs.bulk_seq,
            "act": actions.astype("<i2").tobytes(),
            "shape": list(actions.shape),
            "dtype": "int16",
        }
        if len(agents) != len(group.names):
            body["agents"] = agents.astype("<i4").tobytes()
        if group.horizon is not None:
            body["horizon"] = group.horizon
        self._sequence += 1
        payload = encode(Message(body, seq=self._sequence, t=self._clock.time()))
        self._dispatch.publish(Publication(self._topics.bulk_out(group.config.name), payload, qos=0))

    def _send(self, act: ActConfig, agent: str, index: int, payload: str) -> bool:
        return self._sinks[act.sink](act, agent, index, payload)

    def _to_mqtt(self, act: ActConfig, agent: str, index: int, payload: str) -> bool:
        if self._dispatch is None:
            return False
        topic = act.topic.format(agent=agent, index=index)
        return self._dispatch.publish(Publication(topic, payload.encode(), qos=act.qos, retain=act.retain))
