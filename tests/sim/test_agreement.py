"""A hundred complete devices on a broker that delays and duplicates: they agree within two heartbeats of a
change."""

from __future__ import annotations

import random

from edge_agent.protocol.peers.peer import Joined, Left, PeerSettings
from edge_agent.testing.broker import Adversary, MemoryBroker
from edge_agent.testing.clock import ManualClock
from tests.support import peer_worlds
from tests.support.peer_fleet import Bridge, PeerDevice, PeerFleet

HEARTBEAT = 10.0
SETTINGS = PeerSettings(heartbeat=HEARTBEAT, pause=1.0, skew=10.0)


def device(number: int, broker: MemoryBroker, objectives: list) -> PeerDevice:
    one = peer_worlds.candidate(random.Random(number), number)
    about = {
        "capabilities": one.capabilities,
        "position": one.position,
        "capacity": one.capacity,
        "battery": one.battery,
    }
    return PeerDevice(one.name, broker.client(one.name), broker.clock, SETTINGS, about, objectives)


def objectives(count: int) -> list:
    rng = random.Random(77)
    return [peer_worlds.objective(rng, number) for number in range(count)]


def fleet(size: int, adversary: Adversary | None = None) -> PeerFleet:
    clock = ManualClock()
    broker = MemoryBroker(clock, adversary)
    made = PeerFleet(clock, broker)
    wanted = objectives(size // 5)
    for number in range(size):
        made.add(device(number, broker, wanted))
    return made


def expected(made: PeerFleet) -> dict:
    running = [d.peer for d in made.running]
    candidates = [p.members.candidate(p.device) for p in running]
    return peer_worlds.form(candidates, running[0].formation.objectives.values())


def assert_agreed(made: PeerFleet) -> None:
    assert len(made.plans()) == 1
    for one in made.running:
        assert dict(one.peer.formation.coalitions) == expected(made)
        assert one.peer.confirmed == one.peer.coalition


def test_a_hundred_devices_agree_within_two_heartbeats_of_any_change() -> None:
    made = fleet(100, Adversary(1, double=0.05, delay=0.3))
    made.run(2 * HEARTBEAT, step=0.25)
    assert_agreed(made)
    names = sorted(made.devices)
    random.Random(1).shuffle(names)

    made.devices[names[0]].frozen = True  # its connection stays up: nothing but silence tells
    made.devices[names[1]].stop()
    made.broker.cut(names[2])  # it comes back by itself
    made.run(2 * HEARTBEAT, step=0.25)
    assert_agreed(made)

    made.add(device(100, made.broker, objectives(20)))
    one = made.devices[names[3]]
    one.perform(one.peer.describe({"battery": 5}, made.clock.monotonic(), made.clock.time()))
    for every in made.running:
        every.perform(every.peer.set_objectives(objectives(12), made.clock.monotonic(), made.clock.time()))
    made.run(2 * HEARTBEAT, step=0.25)
    assert_agreed(made)
    assert sum(len(one.history) for one in made.devices.values()) > 0


def test_a_member_that_dies_leaves_its_coalition_to_the_others_at_once() -> None:
    made = fleet(30)
    made.run(2 * HEARTBEAT, step=0.25)
    lost = next(d for d in made.running if d.peer.confirmed is not None and len(d.peer.confirmed.members) > 2)
    fellow = next(n for _, n in lost.peer.confirmed.members if n != lost.topics.device)
    lost.frozen = True
    made.broker.cut(lost.topics.device)
    made.run(2 * SETTINGS.pause)
    assert lost.topics.device not in made.devices[fellow].peer.members
    assert isinstance(made.devices[fellow].history[1], Left)
    assert_agreed(made)
    assert made.devices[fellow].peer.ledger.accounts[0] == (lost.topics.device, 0, 1)


def test_a_split_network_gives_two_answers_that_merge_when_it_heals() -> None:
    clock = ManualClock()
    brokers = [MemoryBroker(clock), MemoryBroker(clock)]
    sides = [PeerFleet(clock, broker) for broker in brokers]
    wanted = objectives(8)
    for number in range(40):
        sides[number % 2].add(device(number, brokers[number % 2], wanted))
    bridge = Bridge(*brokers)

    def run(seconds: float) -> None:
        for _ in range(round(seconds / 0.1)):
            clock.advance(0.1)
            for _ in range(3):
                for side in sides:
                    side.settle()
                bridge.run_once()

    run(2 * HEARTBEAT)
    assert len(sides[0].plans() | sides[1].plans()) == 1
    together = sides[0].plans()
    bridge.up = False
    run(2 * HEARTBEAT)
    for side in sides:
        assert_agreed(side)
    assert sides[0].plans() != sides[1].plans()
    bridge.heal()
    run(2 * HEARTBEAT)
    assert sides[0].plans() == sides[1].plans() == together


def test_a_device_that_lost_its_memory_and_its_clock_is_heard_again() -> None:
    made = fleet(5)
    made.run(2 * HEARTBEAT, step=0.25)
    name = "device-00002"
    made.broker.cut(name)
    made.devices[name].frozen = True
    made.run(3 * HEARTBEAT)
    reborn = device(2, made.broker, objectives(1))
    reborn.peer = type(reborn.peer)(reborn.topics, SETTINGS, incarnation=0)
    now, unix = made.clock.monotonic(), made.clock.time()
    about = {"capabilities": ("pump",), "capacity": 1}
    reborn.perform(reborn.peer.describe(about, now, unix))
    reborn.perform(reborn.peer.set_objectives(objectives(1), now, unix))
    made.add(reborn)
    made.run(2 * HEARTBEAT, step=0.25)
    assert all(name in one.peer.members for one in made.running)
    assert_agreed(made)


def test_roles_are_told_to_their_holders() -> None:
    made = fleet(20)
    made.run(2 * HEARTBEAT, step=0.25)
    joined = {d.topics.device: e for d in made.running for e in d.history[-1:] if isinstance(e, Joined)}
    for coalition in expected(made).values():
        for role, name in coalition.members:
            assert joined[name].coalition == coalition
            assert joined[name].role.name == role
