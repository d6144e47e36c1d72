"""Three devices that share evidence end up with the belief of one agent that saw everything."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.protocol.peers.codes import divergence
from edge_agent.protocol.peers.fusion import Fusion
from edge_agent.protocol.peers.peer import PeerSettings
from edge_agent.protocol.peers.sharing import SharingSettings
from edge_agent.testing.broker import Adversary, MemoryBroker
from edge_agent.testing.clock import ManualClock
from edge_agent.testing.fleet import Device, Fleet
from edge_agent.testing.hidden import HiddenWorld

NAMES = ("north", "south", "west")
SETTINGS = PeerSettings(heartbeat=30.0)
HOP = 1 - 0.7**0.5  # a message makes two hops, to the broker and from it: 30 % of them are lost
HOSTILE = {"lose": HOP, "double": 0.2, "delay": 1.5, "overtake": True}
QUIET = 24  # ticks at the end in which nobody sees anything new and the last repairs arrive


class Trio:
    """Three devices around one hidden world, and what an agent that saw everything believes."""

    def __init__(self, seed: int, adversary: Adversary, controls: int = 1, **settings: float) -> None:
        self.world = HiddenWorld(seed, controls=controls)
        self.controls = controls
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock, adversary)
        self.fleet = Fleet(self.clock, self.broker)
        self.settings = SharingSettings(**settings)  # type: ignore[arg-type]
        self.everything = self.world.D
        self.action = -1
        self.history: dict[int, np.ndarray] = {}
        for name in NAMES:
            self.boot(name)

    def crash(self, name: str) -> None:
        self.fleet.devices[name].frozen = True
        self.broker.cut(name)

    def boot(self, name: str, checkpoint: bytes | None = None) -> None:
        device = Device(name, self.broker, SETTINGS, {}, sharing=self.settings)
        tick = device.sharing.tick_of(self.clock.time()) + 1
        controller = ("north", 0) if self.controls > 1 else None
        fusion = Fusion(self.world.filter, self.world.D, tick, 32, controller)
        device.sharing.advance(self.clock.time())
        if checkpoint is not None:
            assert fusion.restore(checkpoint)
        device.sharing.open("room", fusion, NAMES)
        self.fleet.devices.pop(name, None)
        self.fleet.add(device)

    def tick(self, seeing: bool = True) -> int:
        self.fleet.run(1.0, step=0.25)
        self.world.move(max(self.action, 0))
        belief = self.world.filter.predict(self.everything, self.action)
        now = 0
        action = int(self.world._rng.integers(self.controls)) if self.controls > 1 else -1
        for sensor, name in enumerate(NAMES):
            device = self.fleet.devices[name]
            if device.frozen:
                continue
            now = device.sharing.advance(self.clock.time())
            if seeing:
                likelihood = self.world.see(sensor)
                device.sharing.observe("room", 0, likelihood, action if name == "north" else -1)
                belief = belief * likelihood
            for publication in device.sharing.flush(self.clock.time()):
                device.perform([publication])
        self.action = action if seeing else -1
        self.everything = belief / belief.sum()
        self.history[now] = self.everything
        return now

    def beliefs(self) -> list[np.ndarray]:
        return [self.fleet.devices[name].sharing.fusion("room").belief() for name in NAMES]


@pytest.mark.parametrize("controls", [1, 3])
def test_three_that_share_believe_what_one_that_saw_everything_does(controls: int) -> None:
    trio = Trio(5, Adversary(11, **HOSTILE), controls)
    worst = 0.0
    for step in range(200):
        if step == 90:
            kept = trio.fleet.devices["west"].sharing.fusion("room").checkpoint()
            trio.crash("west")
        if step == 96:
            trio.boot("west", kept)
        now = trio.tick()
        for name in NAMES if step >= 40 else ():
            if trio.fleet.devices[name].frozen:
                continue
            edge, belief = trio.fleet.devices[name].sharing.fusion("room").base  # 32 ticks ago
            assert edge == now - 32
            worst = max(worst, divergence(trio.history[edge], belief))
    for _ in range(QUIET):
        trio.tick(seeing=False)
    for belief in trio.beliefs():
        worst = max(worst, divergence(trio.everything, belief))
    assert worst <= 1e-3
    counters = [trio.fleet.devices[name].sharing.counters for name in NAMES]
    assert all(c.known > 0 for c in counters)  # duplicates did arrive
    assert sum(c.resent for c in counters) > 100
    for name in NAMES:
        assert trio.fleet.devices[name].sharing.lost() == 0
        assert trio.fleet.devices[name].peer.conduct.counts == {}


def test_without_repair_they_would_not() -> None:
    trio = Trio(5, Adversary(11, **HOSTILE), retry=1000)
    worst = 0.0
    for step in range(100):
        trio.tick()
        for name in NAMES if step >= 40 else ():
            edge, belief = trio.fleet.devices[name].sharing.fusion("room").base
            worst = max(worst, divergence(trio.history[edge], belief))
    assert worst > 1e-2


def test_one_that_starts_without_memory_takes_the_others_belief_on() -> None:
    trio = Trio(8, Adversary(3, lose=0.2, double=0.2, delay=1.5, overtake=True))
    for _ in range(60):
        trio.tick()
    trio.crash("west")
    trio.tick()
    trio.boot("west")
    for _ in range(12):
        trio.tick()
    shared = trio.fleet.devices["west"].sharing
    assert shared.counters.received > 20  # what the others saw before it started
    assert trio.fleet.devices["north"].sharing.counters.returned > 0  # what it saw itself
    for _ in range(40):
        now = trio.tick()
    edge, belief = shared.fusion("room").base
    assert edge == now - 32
    assert divergence(trio.history[edge], belief) <= 1e-3


def test_evidence_that_changes_little_is_held_back() -> None:
    frank = Trio(6, Adversary(1))
    terse = Trio(6, Adversary(1), worthwhile=1.0)
    for trio in (frank, terse):
        for _ in range(60):
            trio.tick()
    sent = [sum(t.fleet.devices[n].sharing.counters.sent for n in NAMES) for t in (frank, terse)]
    assert sent[0] == 180
    assert sent[1] < 120
    assert max(divergence(terse.everything, belief) for belief in terse.beliefs()) < 1.0


def test_the_rate_is_kept_and_the_backlog_made_good() -> None:
    trio = Trio(7, Adversary(2), rate=1)
    for _ in range(10):
        trio.tick()
    counts = [trio.fleet.devices[name].sharing.counters for name in NAMES]
    assert all(c.sent + c.resent + c.returned <= 10 + 4 for c in counts)
