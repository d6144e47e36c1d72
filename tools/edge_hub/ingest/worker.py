"""An ingest worker: telemetry and what devices learned into the database; acknowledged after the commit,
confirmed to the device.

Theory of operation. Take what has arrived, decode it, store it in one transaction, acknowledge it. What
can't be decoded or stored goes to ``rejected`` with its reason and is acknowledged too: it would come back
for ever. While the database is away the batch is kept and tried again; the broker holds what follows.
Storing blocks the worker's loop on purpose: there is nothing else to do in it.

What the fleet's table shows and what is confirmed to devices is gathered and written once per `FLUSH_S`: a
device waits a minute for a confirmation before it repeats itself.

Workers of one group share the telemetry among them (``$share``) with clean sessions: the share of one that
was killed goes to the others at once, and what it had not acknowledged comes again from the devices, which
keep what was not confirmed. A worker alone keeps its session at the broker, so nothing is lost while it is
away.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from edge_agent.errors import PeerError, PlatformError
from edge_agent.wire import messages, topics
from edge_agent.wire.topics import DeviceTopics
from edge_hub import hub_messages, tracing
from edge_hub.broker import Broker
from edge_hub.database import contributions, telemetry
from edge_hub.database.contributions import Learned
from edge_hub.database.engine import Database
from edge_hub.database.telemetry import HEALTH_ROW, Health, Numbers, Rejected, Telemetry
from edge_hub.domain import days
from edge_hub.ingest import decode, registry_messages
from edge_hub.ingest.mqtt_stream import Publish
from edge_hub.ingest.subscriber import Subscriber

log = logging.getLogger("edge_hub")

BATCH = 2000
FLUSH_S = 1.0
RETRY_S = 0.5
CACHED_TOPICS = 200_000
LEARNED = "up/learned"
LATENCY = "latency_p99_ms"
MAX_LATENCY_MS = 3_600_000

LastSeen = dict[tuple[str, str], tuple[float, float, int]]
"""(fleet, device) → heard, t, rss; see `telemetry.note_latest`."""


@dataclass(slots=True)
class Counters:
    """What a worker did since it started."""

    stored: int = 0
    learned: int = 0
    rejected: int = 0
    batches: int = 0
    retries: int = 0
    store_seconds: float = 0.0


class Worker:
    """One worker.

    Parameters
    ----------
    database : Database
        Where to.
    broker : Broker
        Where from.
    fleet : str
        A fleet's name, or ``+`` for all.
    group : str
        The workers that share the load, "" for a worker alone.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        fleet: str = "+",
        group: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        share = f"$share/{group}/" if group else ""
        name = f"edge-hub-{group}-{secrets.token_hex(6)}" if group else f"edge-hub-ingest-{fleet.strip('+')}"
        self.subscriber = Subscriber(
            broker,
            tuple(f"{share}edge/v1/{fleet}/+/up/{channel}" for channel in ("telemetry", "learned")),
            name,
            clean=bool(group),
        )
        self.counters = Counters()
        self.database_away = ""
        self._database = database
        self._numbers = Numbers()
        self._now = now
        self._addresses: dict[bytes, topics.Address] = {}
        self._last_seen: LastSeen = {}
        self._counters: dict[tuple[str, str], dict[str, Any]] = {}
        self._health: dict[tuple[str, str], Health] = {}
        self._confirm: dict[tuple[str, str, str], list[int]] = defaultdict(list)

    async def run(self) -> None:
        """Work until cancelled; what was taken is stored first."""
        tasks = [asyncio.create_task(self.subscriber.run()), asyncio.create_task(self._flush_regularly())]
        try:
            while True:
                taken = await self.subscriber.receive(BATCH)
                batch, learned, rejected = self._decoded(taken.messages)
                await self._stored(batch, learned, rejected)
                self.subscriber.acknowledge((m.mid for m in taken.messages), taken.connection)
                self._note(batch)
                await asyncio.sleep(0)  # let the connection read and the flush run
        finally:
            self.flush()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _decoded(self, taken: Iterable[Publish]) -> tuple[list[Telemetry], list[Learned], list[Rejected]]:
        now = self._now()
        near = days.near(now)
        batch: list[Telemetry] = []
        learned: list[Learned] = []
        rejected: list[Rejected] = []
        for message in taken:
            try:
                address = self._addresses.get(message.topic) or self._address(message.topic)
                if message.oversize:
                    raise PeerError(f"message: {message.oversize} bytes, at most {messages.MAX_BYTES}")
                fleet, device, payload = address.fleet, address.device, message.payload
                if address.channel == LEARNED:
                    learned.append(decode.learned(fleet, device, payload, now))
                else:
                    batch.append(decode.telemetry(fleet, device, payload, now, near))
            except PeerError as error:
                topic = message.topic.decode("utf-8", "replace")
                rejected.append((now, topic, str(error), message.payload))
        return batch, learned, rejected

    def _address(self, topic: bytes) -> topics.Address:
        try:
            address = topics.parse(topic.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise PeerError("topic: not UTF-8") from error
        registry_messages.check_name(address.fleet, "fleet")
        registry_messages.check_name(address.device, "device")
        if len(self._addresses) >= CACHED_TOPICS:
            self._addresses.clear()
        self._addresses[topic] = address
        return address

    async def _stored(self, batch: list[Telemetry], learned: list[Learned], rejected: list[Rejected]) -> None:
        """Store a batch, however long the database is away."""
        while True:
            began = time.perf_counter()
            try:
                with tracing.span("ingest batch", {"messages": len(batch), "rejected": len(rejected)}):
                    bad = telemetry.store(self._database, self._numbers, batch, _topic) if batch else []
                    refused = self._learn(learned)
                    if rejected or bad or refused:
                        telemetry.put_aside(self._database, [*rejected, *bad, *refused])
                    if tracing.enabled():
                        _record_slowest(batch)
            except PlatformError as error:
                if not self.database_away:
                    log.error("%s; messages wait at the broker until it is back", error)
                self.database_away = str(error)
                self.counters.retries += 1
                await asyncio.sleep(RETRY_S)
                continue
            if self.database_away:
                log.warning("%s: back", self._database.name)
            self.database_away = ""
            self.counters.batches += 1
            self.counters.stored += len(batch) - len(bad)
            self.counters.learned += len(learned) - len(refused)
            self.counters.rejected += len(rejected) + len(bad) + len(refused)
            self.counters.store_seconds += time.perf_counter() - began
            return

    def _learn(self, learned: list[Learned]) -> list[Rejected]:
        """Keep what devices learned; return what is refused."""
        refused: list[Rejected] = []
        for m in learned:
            outcome = contributions.store(self._database, m)
            if outcome.reason:
                topic = DeviceTopics(m.fleet, m.device).learned
                refused.append((m.received, topic, outcome.reason, m.payload))
                log.warning("%s: %s", topic, outcome.reason)
            if m.outbox and outcome.state != contributions.UNKNOWN:
                self._confirm[m.fleet, m.device, m.outbox].append(m.seq)
        return refused

    def _note(self, batch: Iterable[Telemetry]) -> None:
        for m in batch:
            name = (m.fleet, m.device)
            if m.outbox:
                self._confirm[m.fleet, m.device, m.outbox].append(m.seq)
            if m.historical:
                before = self._last_seen.get(name, (0.0, 0.0, 0))
                self._last_seen[name] = (m.received, *before[1:])
                continue
            self._last_seen[name] = (m.received, m.t, m.rss or self._last_seen.get(name, (0.0, 0.0, 0))[2])
            if m.health:
                self._health.setdefault(name, {}).update(m.health)
            if m.populations:
                known = self._counters.setdefault(name, {})
                for population, counters in m.populations.items():
                    if population in known:
                        known[population].update(counters)
                    else:
                        known[population] = counters

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self.flush()

    def flush(self) -> None:
        """Write down how devices are, and confirm to devices."""
        if self._confirm and self.subscriber.publish(
            [hub_messages.confirmation(*item) for item in self._confirm.items()]
        ):
            self._confirm.clear()
        if not self._last_seen:
            return
        text = {
            name: {p: msgspec.json.encode(v).decode() for p, v in decode.named(found).items() if v}
            for name, found in self._counters.items()
        }
        for name, health in self._health.items():
            if kept := decode.told(health):
                text.setdefault(name, {})[HEALTH_ROW] = msgspec.json.encode(kept).decode()
        try:
            telemetry.note_latest(self._database, self._numbers, self._last_seen, text)
        except (PlatformError, PeerError) as error:
            log.warning("devices' state: %s", error)
            if isinstance(error, PlatformError):
                return  # kept for the next time
        self._last_seen, self._counters, self._health = {}, {}, {}


def _topic(message: Telemetry) -> str:
    return DeviceTopics(message.fleet, message.device).telemetry


def _record_slowest(batch: Iterable[Telemetry]) -> None:
    """Make a span as long as the slowest population's decisions took (99 of 100), the batch's exemplar.

    It ends when the hub received it, since a device's clock may say anything.
    """
    found = [
        (counters[LATENCY], message, name)
        for message in batch
        for name, counters in message.populations.items()
        if 0 < counters.get(LATENCY, 0) < MAX_LATENCY_MS
    ]
    if found:
        took, message, name = max(found, key=lambda one: one[0])
        attributes = {"fleet": message.fleet, "device": message.device, "population": name}
        tracing.record("decision", message.received - took / 1e3, message.received, attributes)
