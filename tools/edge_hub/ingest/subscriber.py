"""A connection to the broker that stays, for receiving much: asyncio around `mqtt_stream`.

Theory of operation. Messages gather in an inbox until the reader takes them; the reader acknowledges what
it has stored. When the inbox is full the socket is not read, so the broker holds the rest. After a connection
ended, what was not taken is dropped (the broker has no acknowledgement of it and sends it again), and the
next attempt comes after a random time up to `RETRY_S`.

A commit costs the same for one message as for hundreds, and a read the same for one as for a socket's buffer.
So the reader waits for what follows at once, and of a stream the socket is left unread meanwhile. Workers
that share a load take together as few batches as one that takes it alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edge_agent.errors import PeerError, PlatformError
from edge_hub.broker import Broker
from edge_hub.ingest import mqtt_stream
from edge_hub.ingest.mqtt_stream import Publish

log = logging.getLogger("edge_hub")

INBOX = 20_000
KEEPALIVE_S = 30
RETRY_S = 1.0
ANSWER_S = 10.0
GATHER_S = 0.002
GATHER_TURNS = 4
STREAM = 32
"""Messages that tell of more behind them: more than the 20 that Mosquitto has under way by default."""
PAUSE_S = 0.05


class Taken(NamedTuple):
    """Messages out of the inbox, and the connection they came by."""

    messages: list[Publish]
    connection: int


class _Protocol(asyncio.Protocol):
    def __init__(self, owner: Subscriber) -> None:
        self.owner = owner
        self.transport: asyncio.Transport | None = None
        self.stream = mqtt_stream.Stream()
        self.answers: asyncio.Queue[object] = asyncio.Queue()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        try:
            messages, answers = self.stream.feed(data)
        except PeerError as error:
            self.end(str(error))
            return
        for answer in answers:
            self.answers.put_nowait(answer)
        if messages:
            self.owner.arrived(messages, self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(str(exc) if exc else "the broker closed the connection")

    def end(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_result(why)
            self.answers.put_nowait(why)
        if self.transport is not None:
            self.transport.close()


class Subscriber:
    """One connection.

    Parameters
    ----------
    broker : Broker
        Where.
    filters : sequence of str
        What to receive, at QoS 1.
    client_id : str
        The session's name.
    clean : bool
        Whether the broker forgets the session at the end of the connection. A shared subscription needs that:
        the share of a worker that is gone must go to the others.
    """

    def __init__(
        self,
        broker: Broker,
        filters: Sequence[str],
        client_id: str,
        clean: bool,
    ) -> None:
        self._broker = broker
        self._filters = tuple(filters)
        self._client_id = client_id
        self._clean = clean
        self._inbox: list[Publish] = []
        self._there = asyncio.Event()
        self._protocol: _Protocol | None = None
        self._mid = 0
        self._said = ""
        self.connection = 0
        self.online = False
        self.received = 0

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            why = "cancelled"
            try:
                why = await self._session()
            except PlatformError as error:
                why = str(error)
            finally:
                self._end()
            if why != self._said:  # once for each reason, not once for each attempt
                log.warning("%r: %s; trying again", self._broker, why)
                self._said = why
            await asyncio.sleep(random.uniform(0.0, RETRY_S))  # noqa: S311 - only spreads clients

    async def receive(self, limit: int) -> Taken:
        """Wait for messages, and take at most ``limit`` of them.

        What follows is waited for, until nothing does: a broker that sends no more before it is acknowledged
        is not kept waiting.
        """
        await self._there.wait()
        for _ in range(GATHER_TURNS):
            size = len(self._inbox)
            if size >= limit:
                break
            if size >= STREAM:
                await self._leave_unread(PAUSE_S)
            await asyncio.sleep(GATHER_S)
            if len(self._inbox) <= size:
                break
        inbox = self._inbox
        taken, rest = (inbox, []) if len(inbox) <= limit else (inbox[:limit], inbox[limit:])
        self._inbox = rest
        if not rest:
            self._there.clear()
        self._read_again()
        return Taken(taken, self.connection)

    def acknowledge(self, mids: Iterable[int], connection: int) -> None:
        """Acknowledge messages, unless the connection they came by is gone."""
        if connection == self.connection and self.online:
            self._write(mqtt_stream.acknowledge(mids))

    def publish(self, messages: Sequence[tuple[str, bytes]]) -> bool:
        """Publish at QoS 1 what may be lost with the connection; return whether there is one."""
        if not self.online:
            return False
        packets = []
        for topic, payload in messages:
            self._mid = self._mid % 65_535 + 1
            packets.append(mqtt_stream.publish(topic, payload, self._mid))
        self._write(b"".join(packets))
        return True

    def arrived(self, messages: list[Publish], protocol: _Protocol) -> None:
        """Take in what the protocol read."""
        if protocol is not self._protocol:
            return
        self.received += len(messages)
        self._inbox += messages
        self._there.set()
        if len(self._inbox) >= INBOX and protocol.transport is not None:
            protocol.transport.pause_reading()

    async def _leave_unread(self, seconds: float) -> None:
        transport = self._protocol.transport if self._protocol is not None else None
        if transport is not None:
            transport.pause_reading()
        await asyncio.sleep(seconds)
        self._read_again()

    def _read_again(self) -> None:
        transport = self._protocol.transport if self._protocol is not None else None
        if transport is not None and not transport.is_closing() and not transport.is_reading():
            transport.resume_reading()

    async def _session(self) -> str:
        loop = asyncio.get_running_loop()
        broker = self._broker
        try:
            async with asyncio.timeout(ANSWER_S):
                _, protocol = await loop.create_connection(
                    lambda: _Protocol(self),
                    broker.host,
                    broker.port,
                    ssl=broker.tls,
                )
        except (OSError, TimeoutError) as error:
            raise PlatformError(str(error) or f"no answer within {ANSWER_S:g} s") from error
        self._protocol = protocol
        hello = mqtt_stream.connect(
            self._client_id, self._clean, KEEPALIVE_S, broker.username, broker.password
        )
        self._write(hello)
        refused = await self._answer(protocol)
        if not isinstance(refused, mqtt_stream.Connected) or refused.refused:
            raise PlatformError(f"refused: {getattr(refused, 'refused', refused)}")
        self.connection += 1
        self.online = True
        self._write(mqtt_stream.subscribe(self._filters, 1))
        granted = await self._answer(protocol)
        if not isinstance(granted, mqtt_stream.Subscribed) or granted.refused:
            raise PlatformError(f"subscription to {', '.join(self._filters)} was not granted: {granted}")
        self._said = ""
        while True:
            try:
                async with asyncio.timeout(KEEPALIVE_S / 2):
                    return await asyncio.shield(protocol.lost)
            except TimeoutError:
                self._write(mqtt_stream.PING)

    async def _answer(self, protocol: _Protocol) -> object:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await protocol.answers.get()
        except TimeoutError as error:
            raise PlatformError(f"no answer within {ANSWER_S:g} s") from error

    def _end(self) -> None:
        self.online = False
        self.connection += 1
        self._inbox = []
        self._there.clear()
        if self._protocol is not None:
            self._write(mqtt_stream.DISCONNECT)
            self._protocol.end("ended")
        self._protocol = None

    def _write(self, data: bytes) -> None:
        transport = self._protocol.transport if self._protocol is not None else None
        if data and transport is not None and not transport.is_closing():
            transport.write(data)
