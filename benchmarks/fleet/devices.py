"""One process's share of a simulated fleet: thousands of `SimulatedDevice` in one event loop.

Theory of operation. Session, outbox, telemetry and hub client of each device are the daemon's own
(`edge_agent.testing.device`); the connection is `mqtt_client`, the disk is memory, and what an engine would
find out about a bundle is settled by chance: a part of the devices finds each bundle bad. A device runs when
something arrived or its deadline came. Once per second some connections are cut, and some of the devices that
lie do so. At the end no more telemetry is made, and the share waits until the hub has confirmed all of it.
"""

from __future__ import annotations

import asyncio
import math
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fleet import lies
from benchmarks.fleet.mqtt_client import Address, AsyncMqttClient
from edge_agent.protocol.outbox import Outbox, OutboxSettings
from edge_agent.protocol.rollout import Health
from edge_agent.protocol.session import SessionState
from edge_agent.testing.device import SimulatedDevice
from edge_agent.testing.memory_outbox import MemoryOutboxStore
from edge_agent.wire import signatures
from edge_agent.wire.blocks import Cut
from edge_agent.wire.documents import Trust
from edge_agent.wire.topics import DeviceTopics

BUNDLE = "ab" * 32
AGENTS = 20
POPULATION = "rooms"
TURN_S = 1.0
IDLE_S = 600.0


@dataclass(frozen=True, slots=True)
class Share:
    """What one process simulates.

    ``first`` and ``count`` number the devices, ``fleet`` is their fleet, ``broker`` is (host, port).
    ``telemetry_s`` is the time between two messages of a device; ``outages`` and ``lies_per_s`` are how many
    of them happen per second, an outage for ``outage_s`` seconds on average; ``liars`` is the part of the
    devices that lie, ``bad`` the part for which every bundle is bad. ``hub_key`` is a public key file, "" for
    none. ``ca``, ``certificate`` and ``key`` are PEM files for TLS (``{device}`` in their names is the
    device's) and ``server_name`` is the name asked for by SNI. ``ramp`` is how many devices start per second.
    """

    first: int
    count: int
    broker: tuple[str, int]
    fleet: str = "lab"
    seconds: float = math.inf
    telemetry_s: float = 30.0
    outages: float = 0.0
    outage_s: float = 5.0
    liars: float = 0.0
    lies_per_s: float = 1.0
    bad: float = 0.0
    hub_key: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    server_name: str = ""
    ramp: float = 1000.0
    drain_s: float = 120.0
    seed: int = 1


@dataclass(slots=True)
class Report:
    """What a share did; ``outboxes`` has the last number of each honest device's outbox by device name."""

    devices: int = 0
    connects: int = 0
    outages: int = 0
    lies_refused: int = 0
    lies_harmless: int = 0
    sent: int = 0
    unconfirmed: int = 0
    never_online: int = 0
    stages: dict[str, int] = field(default_factory=dict)
    outboxes: dict[str, int] = field(default_factory=dict)

    def add(self, other: Report) -> None:
        """Add another share's."""
        for name in (
            "devices",
            "connects",
            "outages",
            "lies_refused",
            "lies_harmless",
            "sent",
            "unconfirmed",
            "never_online",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.stages = dict(Counter(self.stages) + Counter(other.stages))
        self.outboxes |= other.outboxes


def device_name(number: int) -> str:
    """Return a simulated device's name."""
    return f"d{number:05}"


class _Clock:
    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return time.time()


class _Blocks:
    """Which blocks of bundles a device has fetched."""

    def __init__(self) -> None:
        self._blocks: dict[str, set[int]] = {}

    def had(self, cut: Cut) -> Collection[int]:
        return self._blocks.get(cut.digest, ())

    def write(self, cut: Cut, index: int, data: bytes) -> None:  # `Transfer` has compared its digest
        self._blocks.setdefault(cut.digest, set()).add(index)


class _State:
    def read(self) -> dict[str, Any] | None:
        return None

    def write(self, state: Mapping[str, Any]) -> None:
        """Nothing here outlives its process."""


class _Member:
    """A device, its connection and its timer."""

    def __init__(self, share: Share, number: int, tls: ssl.SSLContext | None, trust: Trust) -> None:
        self._handle: asyncio.Handle | None = None
        self.topics = DeviceTopics(share.fleet, device_name(number))
        rng = random.Random(share.seed * 1_000_003 + number)
        self.lies = rng.random() < share.liars
        bad = rng.random() < share.bad
        self.store = MemoryOutboxStore(f"outbox-{share.fleet}-{self.topics.device}", self._wake)
        settings = OutboxSettings(flush_seconds=1.0, confirm=True, confirm_seconds=20.0)
        self.outbox = Outbox(settings, self.topics.telemetry, self.store)
        address = Address(*share.broker, tls or _tls(share, self.topics.device), share.server_name)
        self.client = AsyncMqttClient(address, f"{share.fleet}-{self.topics.device}", self._wake)
        self.device = SimulatedDevice(
            self.topics,
            self.client,
            _Clock(),
            _Blocks(),
            _State(),
            trust,
            {POPULATION: (BUNDLE, AGENTS)},
            lambda _digest: "",
            _unwell if bad else _well,
            self.outbox,
            seed=share.seed * 7919 + number,
            health_seconds=1.0,
        )
        self.device.telemetry.seconds = share.telemetry_s

    def start(self) -> None:
        self.device.start()
        self._wake()

    def _wake(self) -> None:
        """Run soon."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._handle = None
        self.device.run_once()
        if self._handle is None:
            loop = asyncio.get_running_loop()
            now = loop.time()
            self._handle = loop.call_at(min(max(self.device.deadline, now + 0.001), now + IDLE_S), self._run)

    def close(self) -> None:
        self.device.stop()
        if self._handle is not None:
            self._handle.cancel()


def _well(_digest: str, seconds: float) -> Health:
    steps = int(1000 * seconds) + 1000
    return Health(steps, steps // AGENTS, 0, 0, 1.0, 1.0, agreed=steps)


def _unwell(_digest: str, seconds: float) -> Health:
    steps = int(1000 * seconds) + 1000
    return Health(steps, steps // AGENTS, 0, steps, 1.0, 1.0, agreed=steps)


def simulate(share: Share, stopped: Callable[[], bool]) -> Report:
    """Run a share until its time is over or ``stopped`` says so; return what happened."""
    import uvloop

    return uvloop.run(_simulate(share, stopped))


async def _simulate(share: Share, stopped: Callable[[], bool]) -> Report:
    rng, loop = random.Random(share.seed), asyncio.get_running_loop()
    report = Report(devices=share.count)
    numbers = range(share.first, share.first + share.count)
    tls, trust = (None if "{device}" in share.certificate else _tls(share, "")), _trust(share)
    end = loop.time() + share.seconds
    members: list[_Member] = []
    for number in numbers:
        if len(members) % max(1, int(share.ramp / 10)) == 0:
            await asyncio.sleep(0.1)
        member = _Member(share, number, tls, trust)
        member.start()
        members.append(member)
    liars = [member for member in members if member.lies]
    while loop.time() < end and not await loop.run_in_executor(None, stopped):
        await asyncio.sleep(TURN_S)
        for member in rng.sample(members, min(len(members), _number(rng, share.outages * TURN_S))):
            if member.device.session.state is SessionState.ONLINE:
                member.client.outage(rng.uniform(0.0, 2 * share.outage_s))
                report.outages += 1
        for _ in range(_number(rng, share.lies_per_s * TURN_S) if liars else 0):
            _lie(rng.choice(liars), rng, report)
    for member in members:
        member.device.telemetry.seconds = math.inf  # no more is made, and what is there goes out
    end = loop.time() + share.drain_s
    while loop.time() < end and any(_unconfirmed(member) for member in members):
        await asyncio.sleep(0.2)
    stages: Counter[str] = Counter()
    for member in members:
        session = member.device.session
        report.connects += session.counters.connects
        report.never_online += session.counters.connects == 0
        report.sent += member.store.last
        report.unconfirmed += _unconfirmed(member)
        if not member.lies:
            report.outboxes[member.topics.device] = member.store.last
        stages.update(rollout.stage.value for rollout in member.device.hub_client.rollouts.values())
        member.close()
    report.stages = dict(stages)
    await asyncio.sleep(0.5)  # the goodbyes leave
    return report


def _lie(member: _Member, rng: random.Random, report: Report) -> None:
    if member.device.session.state is not SessionState.ONLINE:
        return
    refused = rng.random() < 0.5
    publication = rng.choice(lies.REFUSED if refused else lies.HARMLESS)(member.topics)
    _, effects = member.device.session.publish(publication, asyncio.get_running_loop().time())
    member.device.perform(effects)
    if refused:
        report.lies_refused += 1
    else:
        report.lies_harmless += 1


def _unconfirmed(member: _Member) -> int:
    return len(member.store.entries) + (member.outbox.backlog > member.outbox.size)


def _number(rng: random.Random, mean: float) -> int:
    """Return a whole number whose mean is ``mean``."""
    return int(mean) + (rng.random() < mean % 1)


def _tls(share: Share, device: str) -> ssl.SSLContext | None:
    if not share.ca:
        return None
    tls = ssl.create_default_context(cafile=share.ca)
    if share.certificate:
        files = (name.replace("{device}", device) for name in (share.certificate, share.key))
        tls.load_cert_chain(*(name or None for name in files))  # type: ignore[arg-type]
    return tls


def _trust(share: Share) -> Trust:
    if share.hub_key:
        return Trust(share.fleet, (signatures.load_public(Path(share.hub_key)).raw,))
    return Trust(share.fleet, (signatures.generate("nobody").public.raw,))
