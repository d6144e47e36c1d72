"""Ports of the state machines: clock and MQTT client, and the events of an MQTT client.

Theory of operation. Nothing in ``protocol`` opens a socket or reads a clock. A state machine gets an event
and the time and returns effects; these ports carry the effects out. An `MqttClient` is one client identity at
one broker. It connects only when requested, and reports everything as events, which `MqttClient.events`
returns on the calling thread. There are two implementations: ``adapters.mqtt`` (paho) and ``testing.broker``
(in memory).

Times are seconds: ``now`` is monotonic, ``t`` and ``exp`` in messages are Unix time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

MQTT_311 = 4
MQTT_5 = 5


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Return seconds that only go up; for intervals and deadlines."""

    def time(self) -> float:
        """Return Unix time in seconds; for messages. It may jump."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One message to publish.

    ``expiry`` (seconds that the broker may keep it) and ``content_type`` travel only over MQTT 5; nothing may
    depend on them that does not also stand in the payload.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry: int | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic filter."""

    filter: str
    qos: int = 1


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker took us. ``receive_maximum`` is how many unacknowledged QoS 1 messages it allows."""

    version: int
    session_present: bool = False
    receive_maximum: int = 65535


@dataclass(frozen=True, slots=True)
class Disconnected:
    """There is no connection (any more), or the attempt failed. Exactly one ends every attempt.

    ``unsupported`` says that the broker does not speak the protocol version that was tried.
    """

    reason: str
    unsupported: bool = False


@dataclass(frozen=True, slots=True)
class Acked:
    """The broker has the publication sent with this token; ``refused`` says why it will not have it."""

    token: int
    refused: str = ""


class Received(NamedTuple):
    """A message arrived. With ``acknowledge`` set, the broker repeats it until `MqttClient.acknowledge`."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    acknowledge: int | None = None


Event = Connected | Disconnected | Acked | Received


class MqttClient(Protocol):
    """One client identity at one broker. No method blocks; failures come back as events."""

    def connect(self, will: Publication, version: int) -> None:
        """Begin one attempt with protocol ``version`` (4 is 3.1.1, 5 is 5); what came before is dropped."""

    def disconnect(self) -> None:
        """End the connection in good order: what was published goes out first, the will does not."""

    def publish(self, publication: Publication, token: int) -> None:
        """Send; at QoS 1 an `Acked` with the token follows unless the connection ends."""

    def send(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Publish at QoS 0 without properties; return whether there was room for it."""

    def flush(self) -> None:
        """Send what was published since the last call."""

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for the topics."""

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give the topics up."""

    def acknowledge(self, acknowledge: int) -> None:
        """Tell the broker that a `Received` message was dealt with."""

    def events(self) -> Sequence[Event]:
        """Return what happened since the last call, in order."""

    def kept_out(self) -> Mapping[str, int]:
        """Return how many messages were not let in since the start, by reason."""
