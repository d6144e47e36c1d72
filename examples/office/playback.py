"""Replays the office's week to the devices over MQTT and simulates the effect of their actions on the rooms.

Theory of operation. A tick of the week takes ``TICK_S`` of real time. At its start the observations of all
rooms are published: one array for the rooms that a device observes in bulk, one JSON message per room, in
Zigbee2MQTT's form, for the others. Actions come back on paho's thread and set the level of their rooms; at
the end of the tick the levels act on the rooms' air. The fans of a device that is offline do not change. The
latency is measured as a user would see it: from the moment before an observation is published to that of
its action's arrival, through the broker both ways.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.adapters.mqtt import send_at_once
from edge_agent.errors import PlatformError
from edge_agent.wire.messages import Message, decode, encode
from edge_agent.wire.topics import DeviceTopics
from rooms import OBSERVED, Rooms

TICK_S = 0.038
JSON_KEYS = {"co2": "co2", "light": "illuminance", "temperature": "temperature", "humidity": "humidity"}


@dataclass(frozen=True)
class Share:
    """Which rooms a device has: ``bulk`` of them from room ``first`` on, then ``single``."""

    topics: DeviceTopics
    first: int
    bulk: int
    single: int


class Answer(NamedTuple):
    """The actions that a device's bulk rooms were told in one tick.

    Attributes
    ----------
    tick : int
        How many steps the device's rooms have made.
    observed : float32 array (N, M)
        The readings they answer.
    levels : int16 array (N,)
        What each fan shall do.
    horizon : int or None
        Steps planned ahead, where the board gave way and planned fewer than the model has.
    """

    tick: int
    observed: NDArray[np.float32]
    levels: NDArray[np.int16]
    horizon: int | None


@dataclass
class Record:
    """What happened.

    Attributes
    ----------
    latencies : list of float
        Seconds from observation to action, one a message.
    decisions : int
        Actions decided, for bulk rooms one a room and tick.
    set_messages : int
        Actions that arrived for rooms with a fan of their own.
    answers : dict of str to list
        By device: what its bulk rooms were given and what came back, in order.
    seconds : float
        Real time that the replay took.
    """

    latencies: list[float] = field(default_factory=list)
    decisions: int = 0
    set_messages: int = 0
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    seconds: float = 0.0


class Playback:
    """The rooms at the broker.

    Parameters
    ----------
    rooms : Rooms
        The week; ``play`` uses it up.
    shares : sequence of Share
        Who has which rooms.
    levels : Mapping of str to int
        Names of the ventilation levels, as actions spell them.
    modalities : int
        M of the model. The first are ``rooms.OBSERVED``; nobody observes the others.
    address : (str, int)
        Broker.
    """

    def __init__(
        self,
        rooms: Rooms,
        shares: list[Share],
        levels: Mapping[str, int],
        modalities: int,
        address: tuple[str, int],
    ) -> None:
        self.record = Record()
        self._rooms = rooms
        self._shares = shares
        self._names = dict(levels)
        self._unobserved = np.full((rooms.size, modalities - len(OBSERVED)), np.nan)
        self._levels = np.zeros(rooms.size, np.int64)
        self._by_topic: dict[str, Share | int] = {}
        self._published: dict[str, float] = {}
        self._observed: dict[tuple[str, int], NDArray[np.float32]] = {}
        self._connected = threading.Event()
        for share in shares:
            self._by_topic[share.topics.bulk_out("rooms")] = share
            for index in range(share.single):
                self._by_topic[f"{self._zigbee(share, index)}/set"] = share.first + share.bulk + index
            self.record.answers[share.topics.device] = []
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="office-rooms")
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_socket_open = send_at_once
        self._client.connect(*address)
        self._client.loop_start()
        if not self._connected.wait(10.0):
            raise PlatformError("the rooms cannot reach the broker")

    @property
    def ticks(self) -> int:
        """Ticks of the week."""
        return len(self._rooms.times) - 1

    def play(self, at: Mapping[int, Callable[[], None]]) -> None:
        """Play the week; before tick ``k`` call ``at[k]`` (it must not take longer than a tick)."""
        begin = time.monotonic()
        for number in range(self.ticks):
            if number in at:
                at[number]()
            self._publish(number)
            left = begin + (number + 1) * TICK_S - time.monotonic()
            if left > 0:
                time.sleep(left)
            self._rooms.act(self._levels.copy())
        self.record.seconds = time.monotonic() - begin

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    @staticmethod
    def _zigbee(share: Share, index: int) -> str:
        return f"zigbee2mqtt/{share.topics.device}-room-{index}"

    def _publish(self, number: int) -> None:
        observations = self._rooms.observe()
        columns = np.hstack([observations, self._unobserved]).astype("<f4")
        for share in self._shares:
            bulk = columns[share.first : share.first + share.bulk]
            body = {"obs": bulk.tobytes(), "shape": list(bulk.shape), "dtype": "float32"}
            topic = share.topics.bulk_in("rooms")
            self._observed[share.topics.device, number] = bulk
            self._published[share.topics.bulk_out("rooms")] = time.monotonic()
            self._client.publish(topic, encode(Message(body, seq=number, t=time.time())), qos=0)
            for index in range(share.single):
                self._publish_room(self._zigbee(share, index), observations[share.first + share.bulk + index])

    def _publish_room(self, topic: str, readings: NDArray[np.float64]) -> None:
        message: dict[str, Any] = {"linkquality": 120}
        for key, value in zip(OBSERVED, readings.tolist(), strict=True):
            if key in JSON_KEYS:
                message[JSON_KEYS[key]] = round(value, 2)
            else:
                message["fan_mode"] = next(name for name, level in self._names.items() if level == value)
        self._published[f"{topic}/set"] = time.monotonic()
        self._client.publish(topic, json.dumps(message), qos=0)

    def _on_connect(
        self, client: Client, _: object, __: ConnectFlags, ___: ReasonCode, ____: Properties | None
    ) -> None:
        client.subscribe([("edge/v1/+/+/out/rooms", 0), ("zigbee2mqtt/+/set", 0)])
        self._connected.set()

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        arrived = time.monotonic()
        owner = self._by_topic[message.topic]
        if message.topic in self._published:
            self.record.latencies.append(arrived - self._published[message.topic])
        if isinstance(owner, int):
            self._levels[owner] = self._names[json.loads(message.payload)["fan_mode"]]
            self.record.set_messages += 1
            return
        body = decode(message.payload).body
        levels = np.frombuffer(body["act"], "<i2").reshape(body["shape"])[:, 0]
        if len(levels) != owner.bulk or (levels < 0).any():
            return  # a device that leaves tells its rooms to hold what is safe: the fans stay as they are
        self._levels[owner.first : owner.first + owner.bulk] = levels
        observed = self._observed[owner.topics.device, body["of"]]
        answer = Answer(body["tick"], observed, levels, body.get("horizon"))
        self.record.answers[owner.topics.device].append(answer)
        self.record.decisions += len(levels)
