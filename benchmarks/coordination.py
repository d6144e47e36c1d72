"""Cost of coordination among N devices: the share of its agent-steps that a device keeps.

What is measured. One device runs; the messages of the other N - 1 are prepared and passed to it. The figure
is its rate of agent-steps among N over its rate alone. If N devices have one processor each, this is also the
rate of N over N times the rate of one device; N devices were not run.

The device steps `AGENTS` agents of a 100-state grid world as fast as one core allows, without pause. Among N,
the same thread also processes the protocol: one heartbeat per 30 s of each other device (60 s in the fleet of
10,000; the cost of 30 s is printed there without a target), one device that leaves or returns per second
(coalitions are formed again, incrementally), and each second the evidence and reports of its `FELLOWS`
fellows on a shared factor of 8 states, to which it adds its own.

Time is processor time of the thread, also for the events. Slices with and without coordination alternate, so
that changes of the machine's speed affect both. The time of the MQTT client (`benchmarks.link`) is not
included.

Not measured in this way: N agents on one core over N times one agent. One agent takes 8 us, most of it for
the call; a thousand agents are stepped in one call of 0.3 ms. That ratio is printed without a target,
because no program on one core can do N times the work of one agent.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.cases import seconds
from benchmarks.figures import LESS, MORE, Figure, at_least
from edge_agent import Model, Population
from edge_agent.adapters.process import settle
from edge_agent.protocol.peers.bayes_fusion import BayesFusion
from edge_agent.protocol.peers.conduct import Conduct, ConductSettings
from edge_agent.protocol.peers.evidence_exchange import EvidenceExchange, ExchangeSettings
from edge_agent.protocol.peers.objectives import Candidate, Objective
from edge_agent.protocol.peers.peer import Peer, PeerSettings
from edge_agent.protocol.peers.reputation import Ledger
from edge_agent.wire import messages
from edge_agent.wire.presence import Presence, to_body
from edge_agent.wire.topics import DeviceTopics
from tests.support.hidden_world import HiddenWorld

AGENTS = 64
FELLOWS = 7
HEARTBEAT_S, LARGE_HEARTBEAT_S, LARGE = 30.0, 60.0, 10_000
SLICE_S, SLICES = 0.25, 16
UNIX = 1_700_000_000.0
CHANNEL = "room"

Event = tuple[float, str, str, bytes]
"""When (seconds from the start), ``presence`` or ``evidence``, of whom, and the payload."""


class Among:
    """One device of ``len(candidates)``, and what it hears in ``duration`` seconds."""

    def __init__(
        self, candidates: list[Candidate], objectives: list[Objective], duration: float, heartbeat: float
    ) -> None:
        self.me, *self.others = candidates
        self.heartbeat = heartbeat
        self.world = HiddenWorld(1)
        self.fellows = [candidate.name for candidate in self.others[:FELLOWS]]
        topics = DeviceTopics("bench", self.me.name)
        self.peer = Peer(topics, PeerSettings(heartbeat, rate=10.0), 1)
        about = {"capabilities": self.me.capabilities, "position": self.me.position, "capacity": 8}
        self.peer.describe(about, 0.0, UNIX)
        self.peer.set_objectives(objectives, 0.0, UNIX)
        self.sharing = self._sharing(self.me.name, self.peer.conduct)
        for candidate in self.others:
            self.peer.presence(candidate.name, word(candidate, 1, UNIX), False, 0.0, UNIX)
        self.peer.connected(0.0, UNIX)
        self.peer.tick(1.0, UNIX)
        self.tick = 0
        self.events = sorted(
            [*self._heartbeats(duration), *self._changes(duration), *self._evidence(duration)]
        )
        self.due = 0.0
        self._next = 0

    def until(self, now: float) -> None:
        """Do what is due up to ``now``, seconds from the start; ``due`` says when to call it next."""
        if now >= self.tick + 1:
            self.tick += 1
            self._share(UNIX + self.tick)
        while self._next < len(self.events) and self.events[self._next][0] <= now:
            at, kind, device, payload = self.events[self._next]
            self._next += 1
            if kind == "presence":
                self.peer.presence(device, payload, False, 1.0 + at, UNIX + at)
            else:
                self.sharing.receive(device, payload, 1.0 + at, UNIX + at)
        if 1.0 + now >= self.peer.deadline:
            self.peer.tick(1.0 + now, UNIX + now)
        coming = self.events[self._next][0] if self._next < len(self.events) else self.tick + 1.0
        self.due = min(coming, self.tick + 1.0, self.peer.deadline - 1.0)

    def _share(self, unix: float) -> None:
        self.sharing.advance(unix)
        self.sharing.observe(CHANNEL, 0, self.world.see(0))
        self.sharing.flush(unix)
        self.sharing.fusion(CHANNEL).belief()

    def _sharing(self, name: str, conduct: Conduct) -> EvidenceExchange:
        sharing = EvidenceExchange(DeviceTopics("bench", name), ExchangeSettings(), conduct)
        sharing.advance(UNIX)
        fusion = BayesFusion(self.world.filter, self.world.D, int(UNIX))
        sharing.open(CHANNEL, fusion, [self.me.name, *self.fellows])
        return sharing

    def _heartbeats(self, duration: float) -> Iterator[Event]:
        rng = random.Random(4)
        for candidate in self.others:
            at, seq = rng.uniform(0.0, self.heartbeat), 2
            while at < duration:
                yield at, "presence", candidate.name, word(candidate, seq, UNIX + at)
                at, seq = at + self.heartbeat, seq + 1

    def _changes(self, duration: float) -> Iterator[Event]:
        """One device leaves or comes back each second; not one of the fellows."""
        rng = random.Random(5)
        pool = self.others[FELLOWS:] or self.others
        one = pool[0]
        for second in range(int(duration)):
            leaving = second % 2 == 0
            one = rng.choice(pool) if leaving else one
            at = second + 0.5
            yield at, "presence", one.name, word(one, 1, UNIX + at, 2 + second, leaving)

    def _evidence(self, duration: float) -> Iterator[Event]:
        all_of_them = {
            name: self._sharing(name, Conduct(ConductSettings(), Ledger())) for name in self.fellows
        }
        for second in range(1, int(duration)):
            unix = UNIX + second
            for number, (name, sharing) in enumerate(all_of_them.items()):
                sharing.advance(unix)
                sharing.observe(CHANNEL, 0, self.world.see(number % len(self.world.A)))
                for publication in sharing.flush(unix):
                    yield second + 0.1 + 0.1 * number, "evidence", name, publication.payload
                    for other in all_of_them.values():
                        other.receive(name, publication.payload, float(second), unix)


def word(one: Candidate, seq: int, unix: float, life: int = 1, leaving: bool = False) -> bytes:
    """Return a presence message as a device sends it, with a plan, a coalition and eight accounts."""
    presence = Presence(
        one.name, life, seq, leaving, one.capabilities, one.position, one.capacity, one.battery
    )
    accounts = tuple((f"device-{number:05d}", 3, 0) for number in range(8))
    presence = replace(presence, plan=b"p" * 8, holds=(b"h" * 8,), accounts=accounts)
    return messages.encode(messages.Message(to_body(presence), seq=seq, t=unix))


def kept(
    model: Model, candidates: list[Candidate], objectives: list[Objective], heartbeat: float
) -> tuple[float, float]:
    """Return agent-steps per second of a device among these, and over those of one alone; see the head."""
    settle()  # as the daemon does before it hears of anybody
    among = Among(candidates, objectives, SLICE_S * SLICES + 1.0, heartbeat)
    population = Population(model, AGENTS)
    observations = np.zeros((AGENTS, 1), np.int64)
    rates: dict[bool, list[float]] = {True: [], False: []}
    passed = 0.0
    for turn in range(2 * SLICES):
        coordinate = turn % 2 == 1
        start, steps, now = time.thread_time(), 0, 0.0
        while now < SLICE_S:
            if coordinate and passed + now >= among.due:
                among.until(passed + now)
            population.step(observations)
            steps += AGENTS
            now = time.thread_time() - start
        passed += now * coordinate
        rates[coordinate].append(steps / now)
    together, alone = (sum(rates[key]) / SLICES for key in (True, False))
    return together, together / alone


def efficiency(model: Model, candidates: list[Candidate], objectives: list[Objective]) -> Iterator[Figure]:
    """Yield the share of agent-steps that is left to one of these devices."""
    case = f"{len(candidates)} devices"
    large = len(candidates) >= LARGE
    rate, share = kept(model, candidates, objectives, LARGE_HEARTBEAT_S if large else HEARTBEAT_S)
    yield at_least(case, "agent-steps that the measured device keeps", share, "1", 0.95)
    yield Figure(
        case, "agent-steps/s of one of them", round(rate), "1/s", "alone", round(share, 4), better=MORE
    )
    if large:
        _, share = kept(model, candidates, objectives, HEARTBEAT_S)
        of = f"the same, one heartbeat per {HEARTBEAT_S:g} s"
        yield Figure(case, of, round(share, 4), "1", better=MORE)


def heartbeat(candidates: list[Candidate], objectives: list[Objective]) -> Iterator[Figure]:
    """Yield what the heartbeats of a whole fleet cost each device."""
    case = f"{len(candidates)} devices"
    among = Among(candidates, objectives, 3.0, HEARTBEAT_S)
    beats = [(c.name, word(c, 5, UNIX + 2.0)) for c in among.others[:2000]]
    start = time.thread_time()
    for name, payload in beats:
        among.peer.presence(name, payload, False, 3.0, UNIX + 2.0)
    cost = (time.thread_time() - start) / len(beats)
    per_second = len(among.others) / HEARTBEAT_S
    yield Figure(case, "received heartbeat", round(1e6 * cost, 1), "us", better=LESS)
    yield Figure(case, "share of a core for heartbeats", round(cost * per_second, 5), "1", better=LESS)
    yield Figure(case, "heartbeats", round(len(beats[0][1]) * per_second / 1e3, 2), "kB/s", better=LESS)


def on_one_core(model: Model, agents: int) -> Iterator[Figure]:
    """Yield agent-steps/s of a population over those of one agent alone, on one core."""
    alone, together = (_rate(model, count) for count in (1, agents))
    case = f"{agents} agents, one core"
    yield Figure(case, "over N times one agent alone", round(together / alone / agents, 4), "1", better=MORE)
    yield Figure(
        case,
        "agent-steps per second",
        round(together),
        "1/s",
        "one agent alone",
        round(together / alone, 2),
        better=MORE,
    )


def _rate(model: Model, agents: int) -> float:
    population = Population(model, agents)
    observations = np.zeros((agents, 1), np.int64)
    ticks = max(20, 50_000 // agents)

    def work() -> None:
        for _ in range(ticks):
            population.step(observations)

    return agents * ticks / seconds(work)
