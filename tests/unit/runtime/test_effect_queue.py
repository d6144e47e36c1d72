"""Effects run in order, and none before the state it depends on is on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.errors import PlatformError
from edge_agent.protocol.hub_effects import HubEffect, Leave, Save
from edge_agent.runtime.rollout.effect_queue import MAX_WAITING, RETRY_S, EffectQueue
from edge_agent.testing.clock import ManualClock


class Desk:
    """Writes down what is done and kept; ``leads_to`` says what an effect brings along."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.full = False
        self.leads_to: dict[str, list[HubEffect]] = {}
        self.clock = ManualClock(start=100.0)
        self.queue = EffectQueue(self, self.perform, self.clock)

    def write(self, state: Mapping[str, Any]) -> None:
        if self.full:
            raise PlatformError("follower.json: No space left on device")
        self.done.append(dict(state))

    def perform(self, effect: HubEffect) -> None:
        assert isinstance(effect, Leave)
        self.done.append(effect.population)
        self.queue.add(self.leads_to.get(effect.population, []))


def test_what_an_effect_leads_to_comes_after_those_that_wait() -> None:
    desk = Desk()
    desk.leads_to = {"a": [Save({"v": 1}), Leave("c")]}
    desk.queue.add([Leave("a"), Leave("b")])
    assert desk.done == ["a", "b", {"v": 1}, "c"]


def test_nothing_passes_a_state_that_the_disk_refuses() -> None:
    desk = Desk()
    desk.full = True
    desk.queue.add([Leave("a"), Save({"v": 1}), Leave("b")])
    desk.queue.add([Leave("c")])
    assert desk.done == ["a"]
    assert desk.queue.unsaved == 2
    assert desk.queue.retry_at == 100.0 + RETRY_S
    desk.full = False
    desk.queue.add([])
    assert desk.done == ["a", {"v": 1}, "b", "c"]
    assert desk.queue.retry_at is None


def test_it_says_when_it_is_full() -> None:
    desk = Desk()
    desk.full = True
    desk.queue.add([Save({}), *(Leave(str(n)) for n in range(MAX_WAITING - 1))])
    assert not desk.queue.full
    desk.queue.add([Leave("one more")])
    assert desk.queue.full
