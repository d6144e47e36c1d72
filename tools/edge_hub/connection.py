"""The hub's connection to the broker: paho in a thread, messages in a queue, one reader.

A hub runs on a host with enough memory, so it uses paho's own reconnection. Only the queue is bounded: too
many retained messages are dropped and counted.
"""

from __future__ import annotations

import argparse
import math
import queue
import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.errors import ConfigError, PlatformError
from edge_hub.broker import Broker

NOT_UTF8 = "(not UTF-8)"
QUEUE_MESSAGES = 100_000
BATCH_MESSAGES = 1000
IN_FLIGHT = 100
"""Messages that the broker has not acknowledged; the others wait here."""


class Incoming(NamedTuple):
    """One message from the broker."""

    topic: str
    payload: bytes
    retain: bool
    mid: int = 0
    connection: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command with a broker has."""
    parser.add_argument(
        "--broker", default="127.0.0.1", metavar="HOST[:PORT]", help="the broker; default: %(default)s"
    )
    parser.add_argument("--fleet", default="+", help="fleet name; default: every fleet")
    parser.add_argument("--username", help="MQTT user name")
    parser.add_argument("--password-file", type=Path, help="a file whose first line is the password")
    parser.add_argument("--ca", type=Path, help="CA certificate; enables TLS")
    parser.add_argument(
        "--certificate", type=Path, help="the hub's certificate, for brokers that require one"
    )
    parser.add_argument("--key", type=Path, help="key of --certificate")


def add_service_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that a service can do."""
    parser.add_argument("--hub", metavar="URL", help="ask this edge-hub serve instead of the broker")
    parser.add_argument("--token-file", type=Path, help="with --hub: a file whose first line is an API token")


def add_service_only_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that only a service can do."""
    add_service_arguments(parser)
    parser.add_argument("--ca", type=Path, help="CA certificate file for --hub; default: the system's")


def check_service(arguments: argparse.Namespace, why: str) -> None:
    """Refuse a command that only a service can do, if none is named.

    Raises
    ------
    ConfigError
        There is no ``--hub``.
    """
    if not arguments.hub:
        raise ConfigError(f"--hub: found none, expected the service's address: {why}")


class Connection:
    """A connection that stays: subscriptions are asked for again when the broker comes back.

    Parameters
    ----------
    arguments : argparse.Namespace
        What `add_arguments` made.
    filters : sequence of str
        Topic filters, QoS 1.
    seconds : float
        How long the broker may take to answer.
    name : str
        The client's id, "" for one of its own. What is received under a name is acknowledged by
        `acknowledge` alone.
    kept : bool
        Whether the broker keeps the session of that name.
    quiet : float
        So many seconds without a retained message, and all of them were taken (`settled`).
    gather : float
        So many seconds `messages` waits after the first one for what follows at once: a reader that is woken
        by each message takes twice as long for many.

    Raises
    ------
    ConfigError
        A file or the broker's address is not usable.
    PlatformError
        No answer from the broker within ``seconds``, or it refuses.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        filters: tuple[str, ...],
        seconds: float = 10.0,
        name: str = "",
        kept: bool = False,
        quiet: float = 0.5,
        gather: float = 0.0,
    ) -> None:
        broker = Broker.of(arguments)
        self.dropped = 0
        self.connects = 0
        self._broker = broker
        self._seconds = seconds
        self._quiet = quiet
        self._gather = gather
        self._lost_at = math.inf
        self._retained_at = math.inf  # until there is a connection
        self._posted: dict[str, deque[MQTTMessageInfo]] = {}
        self._begun: list[tuple[str, MQTTMessageInfo]] = []
        self._queue: queue.SimpleQueue[Incoming] = queue.SimpleQueue()
        self._answer: queue.Queue[str] = queue.Queue()
        self._filters = filters
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=name or f"edge-hub-{secrets.token_hex(6)}",
            protocol=MQTTProtocolVersion.MQTTv311,
            clean_session=not kept,
            manual_ack=bool(name),
        )
        if broker.username:
            client.username_pw_set(broker.username, broker.password or None)
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        client.max_inflight_messages_set(IN_FLIGHT)
        client.reconnect_delay_set(1, 10)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        try:
            client.connect(broker.host, broker.port)
        except OSError as error:
            raise PlatformError(f"{broker}: {error}") from error
        client.loop_start()
        try:
            refused = self._answer.get(timeout=seconds)
        except queue.Empty:
            refused = f"no answer within {seconds:g} s"
        if refused:
            self.close()
            raise PlatformError(f"{broker}: {refused}")

    def messages(self, seconds: float) -> Iterator[Incoming]:
        """Yield what arrives within ``seconds`` of now: waits for the first, then takes what is there."""
        wait = max(0.0, seconds)
        for _ in range(BATCH_MESSAGES):
            try:
                message = self._queue.get(timeout=wait) if wait else self._queue.get_nowait()
            except queue.Empty:
                return
            if wait and self._gather:
                time.sleep(self._gather)
            wait = 0.0
            if message.retain:
                self._retained_at = time.monotonic()
            yield message

    def publish(self, topic: str, payload: bytes, retain: bool = False, seconds: float = 10.0) -> None:
        """Publish at QoS 1 and return when the broker has it.

        Raises
        ------
        PlatformError
            It hasn't after ``seconds``.
        """
        self.begin_publish(topic, payload, retain)
        self.finish_publish(seconds)

    def begin_publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Publish at QoS 1; `finish_publish` waits until the broker has all that was begun."""
        self._begun.append((topic, self._client.publish(topic, payload, 1, retain)))

    def finish_publish(self, seconds: float = 10.0) -> None:
        """Return when the broker has what was begun.

        Raises
        ------
        PlatformError
            It hasn't acknowledged a message for ``seconds``.
        """
        begun, self._begun = self._begun, []
        for topic, info in begun:
            try:
                info.wait_for_publish(seconds)
                published = info.is_published()
            except (RuntimeError, ValueError):  # there is no connection
                published = False
            if not published:
                raise PlatformError(f"broker: no acknowledgement of {topic} within {seconds:g} s")

    def post(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Publish at QoS 1 without waiting."""
        posted = self._posted.setdefault(topic, deque())
        while posted and not _on_its_way(posted[0]):
            posted.popleft()
        posted.append(self._client.publish(topic, payload, 1, retain))

    def unsent(self, topic: str) -> int:
        """Return how many messages posted on a topic the broker has not acknowledged."""
        return sum(map(_on_its_way, self._posted.get(topic, ())))

    def insist(self) -> None:
        """Check that the broker is there, or was a moment ago.

        Raises
        ------
        PlatformError
            It went away and has not come back for as long as it may take to answer.
        """
        if time.monotonic() - self._lost_at > self._seconds:
            raise PlatformError(f"{self._broker}: the connection is lost")

    def acknowledge(self, batch: Iterable[Incoming]) -> None:
        """Tell the broker that messages were dealt with; needed on a connection with a name."""
        for message in batch:
            # An identifier means nothing on another connection: the broker sends such a message again.
            if message.mid and message.connection == self.connects:
                self._client.ack(message.mid, 1)

    @property
    def settled(self) -> bool:
        """Whether there is a connection, and the retained messages that came with its subscriptions were
        taken: none has come for a while, whatever else is said meanwhile.
        """
        return time.monotonic() - self._retained_at >= self._quiet

    def close(self) -> None:
        """Say goodbye."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_connect(
        self, client: Client, _: object, flags: ConnectFlags, code: ReasonCode, __: Properties | None
    ) -> None:
        if code.is_failure:
            self._answer.put(f"refused: {code}")
            return
        self.connects += 1
        self._retained_at, self._lost_at = time.monotonic(), math.inf
        if self._filters:
            client.subscribe([(f, 1) for f in self._filters])
        self._answer.put("")

    def _on_disconnect(self, *_: object) -> None:
        self._retained_at = math.inf
        self._lost_at = min(self._lost_at, time.monotonic())

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # a broker that does not look lets it through; nobody takes such a topic
            topic = NOT_UTF8
        if self._queue.qsize() >= QUEUE_MESSAGES:
            self.dropped += 1
            return
        self._queue.put(Incoming(topic, bytes(message.payload), message.retain, message.mid, self.connects))


def _on_its_way(info: MQTTMessageInfo) -> bool:
    try:
        return not info.is_published()
    except (RuntimeError, ValueError):  # it was posted without a connection, and nobody can tell any more
        return False
