"""An MQTT broker in memory on a manual clock, with optional seeded network faults.

Theory of operation. `MemoryBroker` keeps retained messages, wills, subscriptions with ``+`` and ``#``,
persistent sessions and QoS 1 delivery with repetition; `MemoryClient` satisfies
``protocol.ports.MqttClient``. Nothing happens by itself: packets wait in a queue ordered by (due time,
number), and `MemoryBroker.run` carries out those that are due by the clock. With no adversary every packet
is due at once and order is kept.

The adversary is seeded, and acts on packets in both directions. On QoS 0 it may lose, delay, double and
overtake, as a mesh of brokers or a busy one does. On QoS 1 a loss is what it is over TCP, the end of the
connection with everything in flight gone; repetition then doubles what had already arrived.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.protocol.ports import (
    MQTT_5,
    Acked,
    Clock,
    Connected,
    Disconnected,
    Event,
    Publication,
    Received,
    Subscription,
)


@dataclass(frozen=True, slots=True)
class Adversary:
    """Network faults as probabilities per packet; ``delay`` is the maximum delay of a packet in seconds.

    ``lose`` and ``double`` act on QoS 0; ``cut`` ends the connection a QoS 1 packet travels on. Delays keep
    order within a connection unless ``overtake`` is set.
    """

    seed: int = 0
    lose: float = 0.0
    double: float = 0.0
    cut: float = 0.0
    delay: float = 0.0
    overtake: bool = False


@dataclass(slots=True)
class _Standing:
    """What the broker keeps for a client identity, connected or not."""

    subscriptions: dict[str, int] = field(default_factory=dict)
    unacknowledged: dict[int, Received] = field(default_factory=dict)
    client: MemoryClient | None = None
    will: Publication | None = None
    free_at: float = 0.0


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic filter with ``+`` and ``#`` takes ``topic`` (MQTT 5, section 4.7)."""
    wanted, found = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(found) or level not in ("+", found[index]):
            return False
    return len(wanted) == len(found)


class MemoryBroker:
    """The broker; see the module's head.

    Parameters
    ----------
    clock : Clock
        Says which packets are due.
    adversary : Adversary, optional
        By default everything arrives, at once and in order.
    version : int
        The newest protocol version it speaks: 5, or 4 for 3.1.1.
    receive_maximum : int
        QoS 1 publications a client may have in flight; told to MQTT 5 clients.
    """

    def __init__(
        self,
        clock: Clock,
        adversary: Adversary | None = None,
        version: int = MQTT_5,
        receive_maximum: int = 65535,
    ) -> None:
        self.clock = clock
        self.adversary = adversary or Adversary()
        self.version = version
        self.receive_maximum = receive_maximum
        self.retained: dict[str, Publication] = {}
        self.log: list[Publication] = []
        self.up = True
        self._rng = random.Random(self.adversary.seed)  # noqa: S311 - an adversary, not a secret
        self._numbers = itertools.count(1)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._standings: dict[str, _Standing] = {}

    def client(self, client_id: str) -> MemoryClient:
        """Return a client identity at this broker."""
        return MemoryClient(self, client_id)

    def run(self) -> int:
        """Carry out every packet that is due; return how many there were."""
        done = 0
        while self._queue and self._queue[0][0] <= self.clock.monotonic():
            _, _, action = heapq.heappop(self._queue)
            action()
            done += 1
        return done

    @property
    def due(self) -> float | None:
        """When the next packet is due (monotonic seconds), None if none is under way."""
        return self._queue[0][0] if self._queue else None

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        """Publish from nowhere, as a test's hand."""
        self.route(Publication(topic, payload, qos, retain))

    def stop(self) -> None:
        """Go down: every connection ends, wills are not sent; retained messages and sessions stay."""
        self.up = False
        for standing in self._standings.values():
            if standing.client is not None:
                standing.client.ended("the broker went down")
                standing.client = None

    def start(self) -> None:
        """Come back up."""
        self.up = True

    def cut(self, client_id: str) -> None:
        """End one client's connection as a dead link does: its will goes out."""
        standing = self._standings.get(client_id)
        if standing is None or standing.client is None:
            return
        client, standing.client = standing.client, None
        client.ended("the connection was cut")
        if standing.will is not None:
            self.route(standing.will)

    def travel(self, client: MemoryClient, qos: int, action: Callable[[], None]) -> None:
        """Send a packet between the broker and ``client``; the adversary is on the way."""
        adversary, rng = self.adversary, self._rng
        copies = 1
        if qos == 0:
            if rng.random() < adversary.lose:
                return
            copies = 2 if rng.random() < adversary.double else 1
        elif rng.random() < adversary.cut:
            self.cut(client.client_id)
            client.ended("the connection was cut")
            return
        attempt = client.attempt
        standing = self._standings.setdefault(client.client_id, _Standing())

        def arrive() -> None:
            if client.attempt == attempt and client.open:
                action()

        for _ in range(copies):
            due = self.clock.monotonic() + rng.random() * adversary.delay
            if not (adversary.overtake and qos == 0):
                due = standing.free_at = max(due, standing.free_at)
            heapq.heappush(self._queue, (due, next(self._numbers), arrive))

    def route(self, publication: Publication) -> None:
        """Hand a publication to everyone who asked for it."""
        self.log.append(publication)
        if publication.retain:
            if publication.payload:
                self.retained[publication.topic] = publication
            else:
                self.retained.pop(publication.topic, None)
        for standing in list(self._standings.values()):
            granted = [q for f, q in standing.subscriptions.items() if matches(f, publication.topic)]
            if granted:
                self._send(standing, publication, min(publication.qos, max(granted)), False)

    def accept(self, client: MemoryClient, will: Publication, version: int) -> None:
        """Answer a CONNECT."""
        if not self.up:
            client.ended("connection refused")
            return
        if version > self.version:
            client.ended("unsupported protocol version", unsupported=True)
            return
        standing = self._standings.setdefault(client.client_id, _Standing())
        present = bool(standing.subscriptions)
        if standing.client is not None and standing.client is not client:
            standing.client.ended("session taken over")
        standing.client, standing.will = client, will
        client.happened(Connected(version, present, self.receive_maximum if version == MQTT_5 else 65535))
        for acknowledge, message in list(standing.unacknowledged.items()):
            self._deliver(client, message, acknowledge)

    def subscribe(self, client: MemoryClient, subscription: Subscription) -> None:
        """Add a subscription and send what is retained under it."""
        standing = self._standings[client.client_id]
        standing.subscriptions[subscription.filter] = subscription.qos
        for publication in list(self.retained.values()):
            if matches(subscription.filter, publication.topic):
                self._send(standing, publication, min(publication.qos, subscription.qos), True)

    def unsubscribe(self, client: MemoryClient, pattern: str) -> None:
        """Forget a subscription."""
        self._standings[client.client_id].subscriptions.pop(pattern, None)

    def acknowledged(self, client: MemoryClient, acknowledge: int) -> None:
        """Forget a QoS 1 message that its receiver has."""
        self._standings[client.client_id].unacknowledged.pop(acknowledge, None)

    def leave(self, client: MemoryClient) -> None:
        """Answer a DISCONNECT: no will."""
        standing = self._standings.get(client.client_id)
        if standing is not None and standing.client is client:
            standing.client = standing.will = None

    def _send(self, standing: _Standing, publication: Publication, qos: int, retain: bool) -> None:
        acknowledge = None
        if qos:
            acknowledge = next(self._numbers)
        message = Received(publication.topic, publication.payload, qos, retain, acknowledge)
        if acknowledge is not None:
            standing.unacknowledged[acknowledge] = message
        if standing.client is not None:
            self._deliver(standing.client, message, acknowledge)

    def _deliver(self, client: MemoryClient, message: Received, acknowledge: int | None) -> None:
        self.travel(client, 0 if acknowledge is None else 1, lambda: client.happened(message))


class MemoryClient:
    """An `MqttClient` at a `MemoryBroker`. Events appear once the broker has run."""

    def __init__(self, broker: MemoryBroker, client_id: str) -> None:
        self.client_id = client_id
        self.attempt = 0
        self.open = False
        self._broker = broker
        self._events: deque[Event] = deque()

    def connect(self, will: Publication, version: int) -> None:
        """Begin an attempt; see the port."""
        self._broker.leave(self)
        self.attempt += 1
        self.open = True
        self._events.clear()
        self._broker.travel(self, 1, lambda: self._broker.accept(self, will, version))

    def disconnect(self) -> None:
        """End the connection in good order."""
        if self.open:
            self._broker.travel(self, 1, self._leave)

    def send(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Publish at QoS 0; there is always room."""
        self.publish(Publication(topic, payload, 0, retain), 0)
        return True

    def flush(self) -> None:
        """Nothing waits to be sent."""

    def publish(self, publication: Publication, token: int) -> None:
        """Send; at QoS 1 an `Acked` follows."""

        def arrive() -> None:
            self._broker.route(publication)
            if publication.qos:
                self._broker.travel(self, 1, lambda: self.happened(Acked(token)))

        if self.open:
            self._broker.travel(self, publication.qos, arrive)

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for the topics."""
        for subscription in subscriptions if self.open else ():
            self._broker.travel(self, 1, lambda s=subscription: self._broker.subscribe(self, s))  # type: ignore[misc]

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give the topics up."""
        for pattern in filters if self.open else ():
            self._broker.travel(self, 1, lambda p=pattern: self._broker.unsubscribe(self, p))  # type: ignore[misc]

    def acknowledge(self, acknowledge: int) -> None:
        """Tell the broker that a message was dealt with."""
        if self.open:
            self._broker.travel(self, 1, lambda: self._broker.acknowledged(self, acknowledge))

    def events(self) -> Sequence[Event]:
        """Return what happened since the last call, in order."""
        events, self._events = self._events, deque()
        return list(events)

    def kept_out(self) -> Mapping[str, int]:
        """Return nothing: memory has room."""
        return {}

    def happened(self, event: Event) -> None:
        """Note an event; called by the broker."""
        self._events.append(event)

    def ended(self, reason: str, unsupported: bool = False) -> None:
        """Note the end of the connection; called by the broker."""
        if self.open:
            self.open = False
            self._events.append(Disconnected(reason, unsupported))

    def _leave(self) -> None:
        self._broker.leave(self)
        self.open = False
