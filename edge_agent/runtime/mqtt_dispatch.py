"""Runs the MQTT session: polls the client, keeps the newest message of each sensor topic, and publishes.

Theory of operation. All events are processed at once in each turn. Of each sensor topic only the newest
message is kept, so that a flood on a topic causes one step per turn; replaced messages are counted. All are
kept of a topic whose readings count one by one (with time stamps, or reduced to one per tick). Messages on
other topics are all passed to their listener, in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from edge_agent.protocol.ports import Clock, MqttClient, Publication, Received, Subscription
from edge_agent.protocol.session import (
    Deliver,
    Delivered,
    Effect,
    Offline,
    Online,
    Session,
    SessionState,
    carry_out,
)

Listener = Callable[[Received], None]


class MqttDispatch:
    """Runs one MQTT session.

    Parameters
    ----------
    session : Session
        The state machine.
    client : MqttClient
        Carries its effects out.
    clock : Clock
        Monotonic time.
    """

    def __init__(self, session: Session, client: MqttClient, clock: Clock) -> None:
        self.session = session
        self._client = client
        self._clock = clock
        self._effects: list[Effect] = []
        self._listeners: dict[str, Listener] = {}
        self._patterns: list[tuple[list[str], Listener]] = []
        self._asked: Counter[str] = Counter()
        self._delivered: list[Callable[[int], None]] = []
        self._online: list[Callable[[], None]] = []
        self._pending: dict[str, bytes] = {}
        self._earlier: list[tuple[str, bytes]] = []
        self.needs_each: Callable[[str], bool] = lambda _topic: False
        """Whether all messages on a sensor topic are kept."""
        self.coalesced = 0
        self.came_online = False

    @property
    def online(self) -> bool:
        """Whether messages reach the broker now."""
        return self.session.state.value == "online"

    def kept_out(self) -> Mapping[str, int]:
        """Return how many messages were not let in since the start, by reason."""
        return self._client.kept_out()

    def start(self) -> None:
        """Begin to connect."""
        self._effects += self.session.start(self._clock.monotonic())
        self._run()

    def listen(self, topic: str, listener: Listener) -> None:
        """Hand every message on ``topic`` (no wildcards) to ``listener``, in order."""
        self._listeners[topic] = listener
        self._effects += self.session.subscribe(Subscription(topic, 1))
        self._run()

    def listen_pattern(self, pattern: str, listener: Listener, qos: int) -> None:
        """Hand every message whose topic matches ``pattern`` (``+`` stands for a level) to ``listener``."""
        self._patterns.append((pattern.split("/"), listener))
        self._effects += self.session.subscribe(Subscription(pattern, qos))
        self._run()

    def add_callbacks(self, delivered: Callable[[int], None], online: Callable[[], None]) -> None:
        """Call ``delivered`` with the token of each acknowledged QoS 1 publication, and ``online`` on each
        connect.
        """
        self._delivered.append(delivered)
        self._online.append(online)

    def perform(self, effects: Iterable[Effect]) -> None:
        """Carry out effects of this session that were created elsewhere."""
        self._effects += effects
        self._run()

    def subscribe(self, filters: Iterable[str]) -> None:
        """Ask for sensor topics; their newest messages come out of `poll`."""
        wanted = list(filters)
        self._asked.update(wanted)
        self._effects += self.session.subscribe(*(Subscription(topic, 0) for topic in wanted))
        self._run()

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """Give sensor topics up that were asked for as often as they are given up now."""
        given_up = list(filters)
        self._asked.subtract(given_up)
        unasked = [topic for topic in dict.fromkeys(given_up) if self._asked[topic] <= 0]
        for topic in unasked:
            del self._asked[topic]
        self._effects += self.session.unsubscribe(unasked)
        self._run()

    def poll(self) -> list[tuple[str, bytes]]:
        """Process new events; return (topic, payload) of sensor topics: the newest of each, or all."""
        now = self._clock.monotonic()
        count = size = 0
        for event in self._client.events():
            if event.__class__ is Received and event.acknowledge is None:
                if self._effects:
                    self._run()
                count += 1
                size += len(event.payload)
                self._deliver(event)
            else:
                self._effects += self.session.handle(event, now)
        self.session.note_received(count, size)
        self._effects += self.session.tick(now)
        self._run()
        pending, self._pending = self._pending, {}
        earlier, self._earlier = self._earlier, []
        return [*earlier, *pending.items()]

    def publish(self, publication: Publication) -> bool:
        """Publish; return whether the message is on its way (QoS 0) or held (QoS 1)."""
        token, effects = self.session.publish(publication, self._clock.monotonic())
        self._effects += effects
        self._run()
        return token != 0

    def send(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Publish at QoS 0; return whether the message is on its way."""
        online = self.session.state is SessionState.ONLINE
        return self.session.note_sent(len(payload), online and self._client.send(topic, payload, retain))

    def flush(self) -> None:
        """Let what was published leave now."""
        self._client.flush()

    def stop(self) -> None:
        """Disconnect from the broker after the goodbye message."""
        self._effects += self.session.stop(self._clock.monotonic())
        self._run()

    def _run(self) -> None:
        effects, self._effects = self._effects, []
        for effect in carry_out(effects, self._client):
            if isinstance(effect, Deliver):
                self._deliver(effect.message)
            elif isinstance(effect, Delivered):
                for delivered in self._delivered:
                    delivered(effect.token)
            elif isinstance(effect, Online):
                self.came_online = True
                for online in self._online:
                    online()
            elif isinstance(effect, Offline):
                self.came_online = False

    def _deliver(self, message: Received) -> None:
        topic = message.topic
        listener = self._listeners.get(topic)
        if listener is None and self._patterns:
            listener = self._pattern_listener(topic)
        if listener is not None:
            listener(message)
            return
        if topic in self._pending:
            if self.needs_each(topic):
                self._earlier.append((topic, self._pending[topic]))
            else:
                self.coalesced += 1
        self._pending[topic] = message.payload

    def _pattern_listener(self, topic: str) -> Listener | None:
        levels = topic.split("/")
        for pattern, listener in self._patterns:
            if len(pattern) == len(levels) and all(
                asked in ("+", level) for asked, level in zip(pattern, levels, strict=True)
            ):
                return listener
        return None
