"""The MQTT session of a device with its broker, as a state machine without I/O.

Theory of operation. Three states, changed in `Session._enter` alone::

    WAITING --(backoff over)--> CONNECTING --(Connected)--> ONLINE
       ^                            |                          |
       +------(Disconnected, no answer in time, acks stall)----+        any --stop()--> STOPPED

On every connect: the birth message, all subscriptions, then what was in flight before, oldest first, then
what waited. QoS 1 publications in flight are bounded by our own window and by the broker's Receive Maximum;
each is held until the broker acknowledges it, so that a message can be sent twice but not lost while the
process lives (across processes: ``protocol.outbox``). The will is the birth message with ``online`` false.

Reconnecting uses full jitter (Brooker, "Exponential Backoff and Jitter"): uniform in [0, min(cap,
base·2^n)], so that a thousand devices don't come back in the same moment. ``n`` starts anew only after a
connection that held for ``cap`` seconds. A broker that hangs up on MQTT 5, doesn't answer it, or says it
doesn't know it, is tried with 3.1.1 next. Once a version worked it is kept: a slow link looks the same as a
broker that does not know it. After every `PATIENCE` such failures in a row the other one is tried once,
since brokers do change.

How a main loop uses it::

    client = PahoClient(settings, wake)              # or testing.broker.MemoryClient
    session = Session(SessionSettings(), birth, [Subscription(topics.command)], random.Random(seed))
    effects = session.start(clock.monotonic())
    while True:
        for event in client.events():
            effects += session.handle(event, clock.monotonic())
        effects += session.tick(clock.monotonic())   # timers; session.deadline says when to call it next
        for effect in carry_out(effects, client):    # the client's part is done there, in order ...
            match effect:                            # ... and these are left for the application:
                case Deliver(message): ...           # a message arrived; acknowledged once the loop moves on
                case Delivered(token): ...           # a QoS 1 publication arrived; an outbox forgets it
                case Online() | Offline(): ...
        effects = []
        # publish with  effects += session.publish(Publication(...))  while session.credit > 0
        client.flush()                               # what was published leaves
        # then wait on the wake descriptor until session.deadline
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from edge_agent.protocol.ports import (
    MQTT_5,
    MQTT_311,
    Acked,
    Connected,
    Disconnected,
    Event,
    MqttClient,
    Publication,
    Received,
    Subscription,
)

PATIENCE = 4
"""Of so many failures in a row that could be the version's, one makes a version that worked be doubted."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Times in seconds, and limits.

    ``window`` is the most QoS 1 publications in flight, ``waiting`` the most that queue behind it in memory.
    """

    backoff_base: float = 1.0
    backoff_cap: float = 60.0
    connect_timeout: float = 10.0
    ack_timeout: float = 60.0
    window: int = 20
    waiting: int = 64


@dataclass(slots=True)
class SessionCounters:
    """What happened since the process started."""

    attempts: int = 0
    connects: int = 0
    disconnects: int = 0
    timeouts: int = 0
    sent: int = 0
    resent: int = 0
    acked: int = 0
    refused: int = 0
    dropped: int = 0
    received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(frozen=True, slots=True)
class Connect:
    """Effect: begin an attempt."""

    will: Publication
    version: int


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Effect: end the connection or the attempt."""


@dataclass(frozen=True, slots=True)
class Send:
    """Effect: publish."""

    publication: Publication
    token: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Effect: ask for topics."""

    subscriptions: tuple[Subscription, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Effect: give topics up."""

    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Effect: tell the broker that a message was dealt with."""

    acknowledge: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """Effect for the application: a message arrived."""

    message: Received


@dataclass(frozen=True, slots=True)
class Delivered:
    """Effect for the application: the broker has this QoS 1 publication, or ``refused`` it for good."""

    token: int
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Online:
    """Effect for the application: birth and subscriptions are on their way."""


@dataclass(frozen=True, slots=True)
class Offline:
    """Effect for the application: the connection ended."""

    reason: str


ClientEffect = Connect | Disconnect | Send | Subscribe | Unsubscribe | Acknowledge
AppEffect = Deliver | Delivered | Online | Offline
Effect = ClientEffect | AppEffect


class SessionState(enum.Enum):
    """Where the session stands."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    ONLINE = "online"
    STOPPED = "stopped"


class Session:
    """The state machine; see the module's head.

    Parameters
    ----------
    settings : SessionSettings
        Times and limits.
    birth : callable (online: bool) -> Publication
        Makes the birth message; called at each attempt (False: the will) and each connect (True).
    subscriptions : sequence of Subscription
        Asked for on every connect.
    rng : random.Random
        Draws the backoff; seed it differently on each device.
    """

    def __init__(
        self,
        settings: SessionSettings,
        birth: Callable[[bool], Publication],
        subscriptions: Sequence[Subscription],
        rng: random.Random,
    ) -> None:
        self.settings = settings
        self.state = SessionState.WAITING
        self.reason = "not tried yet"
        self.last_reason = ""
        """Why the last connection or attempt ended; it stays while the next connection holds."""
        self.failures = 0
        """How many connections and attempts ended."""
        self.counters = SessionCounters()
        self.deadline: float | None = None
        self._birth = birth
        self._subscriptions = {subscription.filter: subscription for subscription in subscriptions}
        self._given_up: dict[str, None] = {}
        self._rng = rng
        self._version = MQTT_5
        self._spoken: int | None = None
        self._doubts = 0
        self._exponent = 0
        self._since = 0.0
        self._limit = settings.window
        self._next_token = 1
        self._birth_token = 0
        self._in_flight: dict[int, Publication] = {}
        self._waiting: deque[tuple[int, Publication]] = deque()

    @property
    def credit(self) -> int:
        """How many QoS 1 publications could be sent at once now."""
        if self.state is not SessionState.ONLINE:
            return 0
        return max(0, self._limit - len(self._in_flight) - len(self._waiting))

    @property
    def limit(self) -> int:
        """The most QoS 1 publications in flight on this connection."""
        return self._limit

    @property
    def version(self) -> int:
        """The MQTT version of the present or next attempt: 4 (3.1.1) or 5."""
        return self._version

    def start(self, now: float) -> list[Effect]:
        """Begin the first attempt."""
        return self._enter(SessionState.CONNECTING, now)

    def stop(self, now: float) -> list[Effect]:
        """Say goodbye: the birth message with ``online`` false, then a clean disconnect."""
        effects: list[Effect] = []
        if self.state is SessionState.ONLINE:
            effects.append(self._send(self._token(), self._birth(False)))
        return [*effects, *self._enter(SessionState.STOPPED, now)]

    def publish(self, publication: Publication, now: float) -> tuple[int, list[Effect]]:
        """Send a message, or hold it (QoS 1) until it can be sent.

        Returns
        -------
        token : int
            Comes back in `Delivered`; 0 if the message was dropped (QoS 0 while offline, or too many wait).
        effects : list of Effect
            To be carried out.
        """
        if publication.qos == 0:
            if not self.note_sent(len(publication.payload), self.state is SessionState.ONLINE):
                return 0, []
            token = self._token()
            return token, [Send(publication, token)]
        if len(self._waiting) >= self.settings.waiting:
            self.counters.dropped += 1
            return 0, []
        token = self._token()
        self._waiting.append((token, publication))
        return token, self._fill(now)

    def note_sent(self, size: int, taken: bool) -> bool:
        """Count a QoS 0 message of ``size`` bytes as sent if ``taken``, else as dropped; return ``taken``."""
        self.counters.sent += taken
        self.counters.bytes_sent += size * taken
        self.counters.dropped += not taken
        return taken

    def note_received(self, count: int, size: int) -> None:
        """Count ``count`` messages of ``size`` bytes, which the caller delivers itself."""
        self.counters.received += count
        self.counters.bytes_received += size

    def subscribe(self, *subscriptions: Subscription) -> list[Effect]:
        """Add topics, now and on every connect to come; one that is there is asked for anew."""
        for subscription in subscriptions:
            self._given_up.pop(subscription.filter, None)
            self._subscriptions.pop(subscription.filter, None)
            self._subscriptions[subscription.filter] = subscription
        return [Subscribe(subscriptions)] if subscriptions and self.state is SessionState.ONLINE else []

    def unsubscribe(self, filters: Sequence[str]) -> list[Effect]:
        """Give topics up: now, and once more on the next connect, where the broker may remember them."""
        gone = dict.fromkeys(filters)
        for topic in gone:
            self._subscriptions.pop(topic, None)
        self._given_up |= gone
        return [Unsubscribe(tuple(gone))] if gone and self.state is SessionState.ONLINE else []

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event of the client in."""
        match event:
            case Received():
                return self._on_received(event)
            case Acked():
                return self._on_acked(event, now)
            case Connected() if self.state is SessionState.CONNECTING:
                return self._on_connected(event, now)
            case Disconnected() if self.state in (SessionState.CONNECTING, SessionState.ONLINE):
                return self._on_disconnected(event, now)
            case _:  # late news of an attempt that was given up
                return []

    def tick(self, now: float) -> list[Effect]:
        """Act on the timer, if it is due."""
        if self.deadline is None or now < self.deadline:
            return []
        if self.state is SessionState.WAITING:
            return self._enter(SessionState.CONNECTING, now)
        self.counters.timeouts += 1
        waited_for = "an answer" if self.state is SessionState.CONNECTING else "an acknowledgement"
        # Some 3.1.1 brokers don't answer a version they don't know, and don't hang up either.
        ended = Disconnected(f"no sign of {waited_for} in time", unsupported=True)
        return [Disconnect(), *self._on_disconnected(ended, now)]

    def _enter(self, state: SessionState, now: float) -> list[Effect]:
        previous, self.state, self.deadline = self.state, state, None
        if state is SessionState.WAITING:
            if previous is SessionState.ONLINE and now - self._since >= self.settings.backoff_cap:
                self._exponent = 0
            ceiling = min(self.settings.backoff_cap, self.settings.backoff_base * 2.0**self._exponent)
            self._exponent = min(self._exponent + 1, 30)
            self.deadline = now + self._rng.uniform(0.0, ceiling)
            return []
        if state is SessionState.CONNECTING:
            self.counters.attempts += 1
            self.deadline = now + self.settings.connect_timeout
            return [Connect(self._birth(False), self._version)]
        if state is SessionState.STOPPED:
            return [Disconnect()]
        self._since = now
        return []

    def _on_connected(self, event: Connected, now: float) -> list[Effect]:
        self.counters.connects += 1
        self._spoken, self._doubts = self._version, 0
        self._limit = max(1, min(self.settings.window, event.receive_maximum))
        effects = self._enter(SessionState.ONLINE, now)
        self.reason = ""
        # What was in flight goes first again, behind a new birth message, in the order it was sent in.
        self._in_flight.pop(self._birth_token, None)
        self.counters.resent += len(self._in_flight)
        self._waiting.extendleft(reversed(self._in_flight.items()))
        self._in_flight.clear()
        self._birth_token = self._token()
        self._waiting.appendleft((self._birth_token, self._birth(True)))
        if self._given_up and event.session_present:
            effects.append(Unsubscribe(tuple(self._given_up)))
        self._given_up.clear()
        if self._subscriptions:
            effects.append(Subscribe(tuple(self._subscriptions.values())))
        return [*effects, *self._fill(now), Online()]

    def _on_disconnected(self, event: Disconnected, now: float) -> list[Effect]:
        was_online = self.state is SessionState.ONLINE
        if not was_online and event.unsupported:
            self._version = self._other_version()
        self.reason = self.last_reason = event.reason
        self.failures += 1
        effects = self._enter(SessionState.WAITING, now)
        if was_online:
            self.counters.disconnects += 1
            effects.append(Offline(event.reason))
        return effects

    def _other_version(self) -> int:
        """Return the version to try after a failure that may be the version's."""
        self._doubts += 1
        if self._spoken is not None and self._doubts % PATIENCE:
            return self._spoken
        return MQTT_311 if self._version == MQTT_5 else MQTT_5

    def _on_received(self, message: Received) -> list[Effect]:
        self.note_received(1, len(message.payload))
        effects: list[Effect] = [Deliver(message)]
        if message.acknowledge is not None:
            effects.append(Acknowledge(message.acknowledge))
        return effects

    def _on_acked(self, event: Acked, now: float) -> list[Effect]:
        if self._in_flight.pop(event.token, None) is None:
            return []
        if event.refused:
            self.counters.refused += 1
        else:
            self.counters.acked += 1
        if self.deadline is not None:
            self.deadline = now + self.settings.ack_timeout if self._in_flight else None
        return [Delivered(event.token, event.refused), *self._fill(now)]

    def _fill(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self.state is SessionState.ONLINE and self._waiting and len(self._in_flight) < self._limit:
            token, publication = self._waiting.popleft()
            self._in_flight[token] = publication
            effects.append(self._send(token, publication))
            if self.deadline is None:
                self.deadline = now + self.settings.ack_timeout
        return effects

    def _send(self, token: int, publication: Publication) -> Send:
        self.counters.sent += 1
        self.counters.bytes_sent += len(publication.payload)
        return Send(publication, token)

    def _token(self) -> int:
        token, self._next_token = self._next_token, self._next_token + 1
        return token


def carry_out(effects: Iterable[Effect], client: MqttClient) -> Iterator[AppEffect]:
    """Do the client's part of ``effects``; yield the application's part, in order.

    A message is acknowledged to the broker only after the loop over this iterator moved on from it.
    """
    for effect in effects:
        match effect:
            case Send(publication, token):
                client.publish(publication, token)
            case Acknowledge(acknowledge):
                client.acknowledge(acknowledge)
            case Subscribe(subscriptions):
                client.subscribe(subscriptions)
            case Unsubscribe(filters):
                client.unsubscribe(filters)
            case Connect(will, version):
                client.connect(will, version)
            case Disconnect():
                client.disconnect()
            case _:
                yield effect
