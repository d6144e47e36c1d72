"""Three devices that share evidence reach the belief of one agent that observes everything."""

from __future__ import annotations

import pytest

from edge_agent.protocol.peers.evidence_exchange import ExchangeSettings
from edge_agent.testing.broker import Adversary
from tests.support.three_devices import CHANNEL, NAMES, ThreeDevices, hostile, worst_error


@pytest.mark.parametrize("controls", [1, 3])
def test_three_that_share_believe_what_one_that_saw_everything_does(controls: int) -> None:
    trio = ThreeDevices(5, hostile(11), controls)
    assert worst_error(trio) <= 1e-3
    counters = [trio.sharing(name).counters for name in NAMES]
    assert all(c.known > 0 for c in counters)  # duplicates did arrive
    assert sum(c.resent for c in counters) > 100
    for name in NAMES:
        assert trio.sharing(name).lost() == 0
        assert trio.fleet.devices[name].peer.conduct.counts == {}


def test_without_repair_they_would_not() -> None:
    assert (
        worst_error(ThreeDevices(5, hostile(11), settings=ExchangeSettings(retry=1000)), 100, 200, 200) > 1e-2
    )


def test_one_that_starts_without_memory_takes_the_others_belief_on() -> None:
    trio = ThreeDevices(8, Adversary(3, lose=0.2, double=0.2, delay=1.5, overtake=True))
    for _ in range(60):
        trio.tick()
    trio.crash("west")
    trio.tick()
    trio.boot("west")
    for _ in range(12):
        trio.tick()
    assert trio.sharing("west").counters.received > 20  # what the others saw before it started
    assert trio.sharing("north").counters.returned > 0  # what it saw itself
    for _ in range(40):
        trio.tick()
    assert trio.error("west") <= 1e-3


def test_evidence_that_changes_little_is_held_back() -> None:
    frank, terse = (
        ThreeDevices(6, Adversary(1)),
        ThreeDevices(6, Adversary(1), settings=ExchangeSettings(worthwhile=1.0)),
    )
    for trio in (frank, terse):
        for _ in range(60):
            trio.tick()
    sent = [sum(trio.sharing(name).counters.sent for name in NAMES) for trio in (frank, terse)]
    assert sent[0] == 180
    assert sent[1] < 120
    assert max(terse.error_now(name) for name in NAMES) < 1.0


def test_the_rate_is_kept() -> None:
    trio = ThreeDevices(7, Adversary(2, lose=0.3), settings=ExchangeSettings(rate=1))
    for _ in range(20):
        trio.tick()
    for name in NAMES:
        counters = trio.sharing(name).counters
        assert 15 < counters.sent + counters.resent + counters.returned <= 20 + 4
    assert trio.sharing("north").fusion(CHANNEL).held("south", 0) & 0xFFFFF != 0
