"""The daemon's `protocol.ports.MqttClient`: paho's packets and our own messages on the daemon's one thread.

Theory of operation. A connection is made in a thread of its own, since names, TCP and TLS make it wait; the
thread ends when the socket is there, and hands it over. From then on the loop (`adapters.loop`) says when the
socket can be read or written, `LoopMqttClient.events` reads it (`adapters.looped_client`), and
`LoopMqttClient.flush` writes what was published since, in one call. No lock, no wake-up and no other thread
lies between a message and the action that answers it.

A turn takes messages of at most ``inbox_bytes``; the rest stays in the buffer for the next turn, and in the
socket, so the broker waits and nothing is dropped here. After messages were taken the loop lets `GATHER_S`
pass before it looks at the socket again, unless it has been quiet: a lone message is answered at once, and of
a stream many share a turn.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from edge_agent.adapters.connection_errors import trouble_text
from edge_agent.adapters.limited_client import OneConnection
from edge_agent.adapters.looped_client import LoopedClient
from edge_agent.adapters.mqtt import MqttSettings, PahoClient
from edge_agent.adapters.mqtt_inbox import Inbox
from edge_agent.adapters.mqtt_incoming import MqttIncoming
from edge_agent.adapters.paho_loader import Client
from edge_agent.protocol.ports import MQTT_5, Disconnected, Event

log = logging.getLogger("edge_agent")

GATHER_S = 0.0047
MISC_S = 1.0
"""How often paho looks after the keep-alive."""


class StreamLoop(Protocol):
    """What it needs of the loop."""

    def wake(self) -> None:
        """End the wait, or the next one; may be called from any thread."""

    def add_stream(self, connection: Any, ready: Callable[[], None]) -> None:
        """Call ``ready`` whenever ``connection`` can be read."""

    def watch_writes(self, connection: Any, wanted: bool) -> None:
        """End waits when ``connection`` can be written, or do so no more."""

    def remove_stream(self, connection: Any) -> None:
        """Forget ``connection``."""

    def gather(self, until: float) -> None:
        """Look at streams again at ``until``, monotonic seconds."""


class _Events(Inbox):
    """Events of one thread: there is nobody to wait for, and nobody to wake."""

    def put(self, attempt: int, event: Event | int) -> None:
        """Add an event."""
        self._events.append((attempt, event))

    def drain(self) -> deque[tuple[int, Event | int]]:
        """Return what is there."""
        events, self._events = self._events, deque()
        return events

    def __len__(self) -> int:
        return len(self._events)


class LoopMqttClient(PahoClient):
    """An `MqttClient` on the thread of a loop.

    Parameters
    ----------
    settings : MqttSettings
        Broker and identity.
    loop : StreamLoop
        Watches the socket.

    Raises
    ------
    ConfigError
        A certificate or key file is missing or is not one.
    """

    _inbox: _Events

    def __init__(self, settings: MqttSettings, loop: StreamLoop) -> None:
        super().__init__(settings, loop.wake)
        self._loop = loop
        self._handovers: deque[tuple[int, LoopedClient, Exception | None]] = deque()
        self._given_up = 0
        """The attempts up to this one are over; whoever makes a connection for one of them closes it."""
        self._handing_over = threading.Lock()
        self._served: LoopedClient | None = None
        self._misc_at = math.inf
        self._watches_writes = False

    @property
    def deadline(self) -> float:
        """When `events` has something to do, monotonic seconds."""
        served = self._served
        if self._inbox or (served is not None and (served.incoming.ready or served.readable)):
            return -math.inf
        return self._misc_at

    @property
    def unsent(self) -> bool:
        """Whether something waits for room to be written."""
        return self._served is not None and self._served.unsent

    def send(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Publish at QoS 0; return whether there was room for it."""
        return self._served is not None and self._served.send(topic, payload, retain)

    def flush(self) -> None:
        """Send what was published since the last call, as far as the socket takes it."""
        served = self._served
        if served is None:
            return
        if served.unsent:
            served.flush()
        if self._served is not None and self.unsent is not self._watches_writes:
            self._watches_writes = self.unsent
            self._loop.watch_writes(served.socket(), self.unsent)

    def disconnect(self) -> None:
        """End the connection in good order."""
        self.flush()
        super().disconnect()
        with self._handing_over:
            self._given_up = self._attempt
        while self._handovers:
            self._give_up(self._handovers.popleft()[1])

    def close(self, seconds: float) -> bool:
        """Disconnect, and wait until what was published has left; return whether it did in time."""
        self.disconnect()
        end = time.monotonic() + seconds
        while not self._gone.is_set() and (left := end - time.monotonic()) > 0:
            self._gone.wait(min(left, 0.01))
            self.flush()
        return self._gone.is_set()

    def events(self) -> Sequence[Event]:
        """Return what happened since the last call, in order."""
        while self._handovers:
            self._take_over(*self._handovers.popleft())
        served, now = self._served, time.monotonic()
        if served is None:
            return super().events()
        events: list[Event] = []
        for messages in served.receive(self._settings.inbox_bytes):
            if self._inbox:  # what paho has read came before them
                events += super().events()
            if self._ended:
                break
            events += messages
        if events:
            self._loop.gather(now + GATHER_S)
        self._inbox.counters.too_long += served.incoming.too_long
        served.incoming.too_long = 0
        if now >= self._misc_at:
            self._misc_at = now + MISC_S
            served.loop_misc()
        if self._inbox:
            events += super().events()
        return events

    def _make_inbox(self) -> Inbox:
        return _Events(self._settings.inbox_bytes, self._wake)

    def _make_client(self, version: int) -> OneConnection:
        settings = self._settings
        incoming = MqttIncoming(settings.max_packet, settings.max_payload, version == MQTT_5)
        not_now: tuple[type[OSError], ...] = (BlockingIOError,)
        if self.encrypted:
            import ssl

            not_now = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        return LoopedClient(incoming, settings.client_id, version, self._clean, not_now)

    def _open(self, client: OneConnection) -> None:
        """Connect in a thread, which hands the connection over."""
        assert isinstance(client, LoopedClient)  # noqa: S101 - `_make_client`'s, for the type checker
        attempt = self._attempt

        def connect() -> None:
            failure: Exception | None = None
            try:
                client.reconnect()
            except OSError as error:
                failure = error
            except Exception as error:  # the outermost call of a thread
                log.exception("mqtt: unhandled exception in the thread that connects; the attempt ends")
                failure = error
            with self._handing_over:
                wanted = attempt > self._given_up
                if wanted:
                    self._handovers.append((attempt, client, failure))
            if wanted:
                self._wake()
            else:
                self._give_up(client)

        threading.Thread(target=connect, name="mqtt-connect", daemon=True).start()

    def _take_over(self, attempt: int, client: LoopedClient, failure: Exception | None) -> None:
        """Serve a connection that was made, unless it is not wanted any more."""
        connection = client.socket()
        if attempt != self._attempt or self._ended:
            self._give_up(client)
        elif failure is not None or connection is None:
            where = f"{self._settings.host}:{self._settings.port}"
            self._gone.set()
            self._inbox.put(attempt, Disconnected(f"{where}: {trouble_text(failure)}"))
        else:
            self._served, self._watches_writes = client, False
            client.on_socket_close = self._closed
            self._loop.add_stream(connection, lambda: self._readable(client))
            self._misc_at = time.monotonic() + MISC_S
            self.flush()

    def _give_up(self, client: LoopedClient) -> None:
        """Close a connection that was made and that nobody wants any more."""
        connection = client.socket()
        if connection is not None:
            connection.close()
        if client is self._client:
            self._gone.set()

    def _abandon(self) -> None:
        served = self._served
        if served is not None:
            served.disconnect()
            connection = served.socket()
            if connection is not None:
                self._forget(connection)
                connection.close()
        self._client = None

    def _closed(self, client: Client, _data: object, connection: Any) -> None:
        if client is self._served:
            self._forget(connection)

    def _forget(self, connection: Any) -> None:
        self._loop.remove_stream(connection)
        self._served, self._misc_at = None, math.inf

    @staticmethod
    def _readable(client: LoopedClient) -> None:
        client.readable = True
