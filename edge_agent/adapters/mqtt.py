"""Implements ``protocol.ports.MqttClient`` with paho-mqtt 2.

Theory of operation. Every attempt uses a new paho client with paho's own reconnecting turned off; the session
decides when to reconnect. paho's network thread runs the callbacks, which only put an event into a bounded
inbox and call ``wake()``. Everything else, including the mapping of packet identifiers to tokens, happens in
`PahoClient.events` on the caller's thread, so no lock is shared with paho. Events carry the number of their
attempt, and events of older attempts are dropped.

Bounds: QoS 1 messages are acknowledged by hand, so the broker keeps back what exceeds our Receive Maximum
(20, which is also Mosquitto's limit for 3.1.1 clients). When the inbox contains ``inbox_bytes``, paho's
thread waits for the loop, and so the broker waits; a QoS 0 message that still finds no room is dropped and
counted. A message longer than ``max_payload`` is dropped, counted and acknowledged. A packet above the packet
limit is never read, since paho would collect it in memory first: `LimitedClient` checks the bytes as paho
reads them (``adapters.packet_lengths``) and ends the connection, which is counted. An MQTT 5 broker receives
the limit at connect and sends no such packet. A 3.1.1 broker may send it again whenever its session is
resumed; after that happened, the next connect asks it to forget the session, and loses what else it holds.
"""

from __future__ import annotations

import logging
import math
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.adapters.connection_errors import refusal_text, trouble_text
from edge_agent.adapters.limited_client import LimitedClient, OneConnection
from edge_agent.adapters.mqtt_inbox import Inbox
from edge_agent.adapters.packet_lengths import OversizeError, PacketLengths
from edge_agent.adapters.paho_loader import (
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
    MQTTProtocolVersion,
    PacketTypes,
    Properties,
    ReasonCode,
    SubscribeOptions,
)
from edge_agent.protocol.ports import (
    MQTT_5,
    Acked,
    Connected,
    Disconnected,
    Event,
    Publication,
    Received,
    Subscription,
)
from edge_agent.wire import broker_login

if TYPE_CHECKING:  # loaded by a connection that is encrypted
    import ssl

log = logging.getLogger("edge_agent")

_UNSUPPORTED_VERSION = 0x84
RECEIVE_MAXIMUM = 20
PACKET_BYTES = 1024
"""A packet may be so many bytes longer than the longest payload: its topic and properties."""


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Where the broker is and who we are there.

    ``tls`` believes the system's certificates, ``ca`` (which implies it) those in a file; ``certificate`` and
    ``key`` add our own proof (mTLS). ``keepalive``, ``session_expiry`` in seconds; ``inbox_bytes`` and
    ``max_payload`` in bytes. Without ``keep_session`` the broker forgets the client when it goes.
    """

    host: str
    client_id: str
    port: int = 1883
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    keepalive: int = 30
    session_expiry: int = 3600
    inbox_bytes: int = 1024 * 1024
    max_payload: int = 256 * 1024
    keep_session: bool = True

    @property
    def max_packet(self) -> int:
        """The most bytes of a packet after its fixed header."""
        return self.max_payload + PACKET_BYTES


class PahoClient:
    """An `MqttClient` over the network.

    Parameters
    ----------
    settings : MqttSettings
        Broker and identity.
    wake : callable
        Called from paho's thread when there are events; must be thread-safe and quick (write to a pipe, set
        an event).

    Raises
    ------
    ConfigError
        A certificate or key file is missing or is not one.
    """

    def __init__(self, settings: MqttSettings, wake: Callable[[], None]) -> None:
        self._settings = settings
        self._context = _tls(settings)
        self._wake = wake
        self._inbox = self._make_inbox()
        self._attempt = 0
        self._client: OneConnection | None = None
        self._tokens: dict[int, int] = {}
        self._ended = True
        self._resumed = False
        self._repeats_oversize = False
        """Whether the broker's session holds a message that is too long, so that every connect would end."""
        self._gone = threading.Event()
        self._gone.set()

    @property
    def encrypted(self) -> bool:
        """Whether the connection is TLS."""
        return self._context is not None

    @property
    def limited(self) -> bool:
        """Whether the lengths of the present connection's packets are checked."""
        return self._client is not None and self._client.limited

    @property
    def deadline(self) -> float:
        """When `events` has something to do without a call of ``wake``, monotonic seconds."""
        return math.inf

    def connect(self, will: Publication | None, version: int) -> None:
        """Begin one attempt; see the port. Without a will the broker announces nothing."""
        self._abandon()
        self._attempt += 1
        self._ended = self._resumed = False
        self._tokens = {}
        self._gone = threading.Event()
        self._client = client = self._make(self._attempt, will, version)
        where = (self._settings.host, self._settings.port, self._settings.keepalive)
        if version == MQTT_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            kept = self._settings.keep_session
            properties.SessionExpiryInterval = self._settings.session_expiry if kept else 0
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            properties.MaximumPacketSize = self._settings.max_packet
            client.connect_async(*where, clean_start=self._clean, properties=properties)
        else:
            client.connect_async(*where)
        self._open(client)

    def disconnect(self) -> None:
        """End the connection in good order."""
        if self._client is not None:
            self._client.disconnect()

    def close(self, seconds: float) -> bool:
        """Disconnect, and wait until what was published has left; return whether it did in time.

        For the end of a process: paho's thread dies with it, and would take the last messages along.
        """
        self.disconnect()
        return self._gone.wait(seconds)

    def send(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Publish at QoS 0; return whether there was room for it."""
        if self._client is not None:
            self._client.publish(topic, payload, 0, retain)
        return True

    def flush(self) -> None:
        """Send what was published; paho's thread does so by itself."""

    def publish(self, publication: Publication, token: int) -> None:
        """Send; at QoS 1 an `Acked` follows."""
        if self._client is None:
            return
        properties = None
        if self._client.protocol == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            if publication.expiry is not None:
                properties.MessageExpiryInterval = publication.expiry
            if publication.content_type is not None:
                properties.ContentType = publication.content_type
        info = self._client.publish(
            publication.topic, publication.payload, publication.qos, publication.retain, properties
        )
        if publication.qos:
            self._tokens[info.mid] = token

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for the topics."""
        if self._client is None:
            return
        if self._client.protocol == MQTTProtocolVersion.MQTTv5:
            self._client.subscribe([(s.filter, SubscribeOptions(qos=s.qos)) for s in subscriptions])
        else:
            self._client.subscribe([(s.filter, s.qos) for s in subscriptions])

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give the topics up."""
        if self._client is not None:
            self._client.unsubscribe(list(filters))

    def acknowledge(self, acknowledge: int) -> None:
        """Tell the broker that a message was dealt with."""
        if self._client is not None:
            self._client.ack(acknowledge, 1)

    def kept_out(self) -> Mapping[str, int]:
        """Return how many messages were not let in since the start, by reason."""
        return asdict(self._inbox.counters)

    def events(self) -> Sequence[Event]:
        """Return what happened since the last call, in order."""
        events: list[Event] = []
        for attempt, event in self._inbox.drain():
            if attempt != self._attempt or self._ended:
                continue
            if event.__class__ is Received:
                events.append(event)
                continue
            if isinstance(event, Connected):
                self._resumed, self._repeats_oversize = event.session_present, False
            if isinstance(event, Disconnected):
                if self._client is not None and self._client.refused is not None:
                    self._repeats_oversize = self._resumed
                self._ended = True
                self._abandon()
            if isinstance(event, Acked):
                token = self._tokens.pop(event.token, None)
                if token is None:
                    continue
                event = Acked(token, event.refused)
            if isinstance(event, int):
                self.acknowledge(event)
                continue
            events.append(event)
        return events

    def _abandon(self) -> None:
        """Let the old paho client's thread end by itself; nobody listens to it any more."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()

    @property
    def _clean(self) -> bool:
        """Whether the broker shall forget what it kept for us when the next connection begins."""
        return self._repeats_oversize or not self._settings.keep_session

    def _make_inbox(self) -> Inbox:
        return Inbox(self._settings.inbox_bytes, self._wake)

    def _make_client(self, version: int) -> OneConnection:
        settings = self._settings
        lengths = PacketLengths(settings.max_packet)
        return LimitedClient(lengths, settings.client_id, version, self._clean)

    def _open(self, client: OneConnection) -> None:
        """Connect, and serve the connection."""
        client.loop_start()

    def _make(self, attempt: int, will: Publication | None, version: int) -> OneConnection:
        # Our own `Session` keeps the in-flight window: paho's must never be the one that holds back.
        settings, client = self._settings, self._make_client(version)
        client.max_inflight_messages_set(0)
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        if settings.username is not None:
            client.username_pw_set(settings.username, settings.password)
        if self._context is not None:
            client.tls_set_context(self._context)
        inbox, limit, gone = self._inbox, settings.max_payload, self._gone
        where = f"{settings.host}:{settings.port}"
        reached = False

        def on_connect(
            _: Client, __: object, flags: ConnectFlags, code: ReasonCode, found: Properties | None
        ) -> None:
            nonlocal reached
            reached = True
            if not client.limited:
                log.error("this paho-mqtt does not let packet lengths be checked; install 2.1 or 2.2")
            if code.is_failure:
                unsupported = code.value == _UNSUPPORTED_VERSION
                inbox.put(attempt, Disconnected(f"{where}: {refusal_text(code)}", unsupported))
            else:
                maximum = int(getattr(found, "ReceiveMaximum", 65535))
                inbox.put(attempt, Connected(version, flags.session_present, maximum))

        def on_connect_fail(failed: Client, _: object) -> None:
            gone.set()
            inbox.put(attempt, Disconnected(f"{where}: {trouble_text(sys.exception())}"))
            failed.disconnect()  # or paho's thread would try again

        def on_disconnect(
            _: Client, __: object, ___: DisconnectFlags, code: ReasonCode, ____: Properties | None
        ) -> None:
            gone.set()
            trouble = client.refused or client.trouble
            if client.refused is not None:
                inbox.counters.oversize_disconnects += 1
            why = str(code) if trouble is None else trouble_text(trouble)
            # A broker that hangs up instead of answering most often does not know this version.
            closed = trouble is None or isinstance(trouble, ConnectionError)
            unsupported = not reached and closed and not isinstance(trouble, OversizeError)
            inbox.put(attempt, Disconnected(f"{where}: connection ended: {why}", unsupported))

        def on_publish(_: Client, __: object, mid: int, code: ReasonCode, ___: Properties) -> None:
            inbox.put(attempt, Acked(mid, str(code) if code.is_failure else ""))

        def on_message(_: Client, __: object, message: MQTTMessage) -> None:
            acknowledge = message.mid if message.qos else None
            if len(message.payload) > limit:
                inbox.counters.too_long += 1
                if acknowledge is not None:
                    inbox.put(attempt, acknowledge)
                return
            payload = bytes(message.payload)
            received = Received(message.topic, payload, message.qos, message.retain, acknowledge)
            inbox.put(attempt, received)

        def on_failure(error: Exception) -> None:
            gone.set()
            inbox.put(attempt, Disconnected(f"{where}: connection ended: {type(error).__name__}: {error}"))

        client.on_socket_open = send_at_once
        client.on_connect = on_connect
        client.on_connect_fail = on_connect_fail
        client.on_disconnect = on_disconnect
        client.on_publish = on_publish
        client.on_message = on_message
        client.on_failure = on_failure
        return client


def send_at_once(_: Client, __: object, connection: Any) -> None:
    """Turn Nagle's algorithm off (RFC 896): with delayed acknowledgements it holds messages for 40 ms."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _tls(settings: MqttSettings) -> ssl.SSLContext | None:
    if not settings.tls and settings.ca is None:
        return None
    return broker_login.tls(settings.ca, settings.certificate, settings.key)
