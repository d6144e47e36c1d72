"""What a population learned goes to the hub: each count once, whatever fails, and when it is killed."""

from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population
from edge_agent.errors import ConfigError
from edge_agent.protocol.outbox import STATE, Outbox, OutboxSettings
from edge_agent.runtime.population import checkpoint
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.reporting.learned_publisher import RETRY_S, SETTLE_S, LearnedPublisher
from edge_agent.testing.clock import ManualClock
from edge_agent.testing.memory_outbox import MemoryOutboxStore
from edge_agent.wire import learned, messages
from edge_agent.wire.increments import Increments
from tests.unit.runtime.test_learning import group, model, pass_ticks, prepared

__all__ = ["model"]
HOUR = 3600.0
BUNDLE = "ab" * 32


class Hub:
    """A publisher whose disk can fail, and what it gave to the outbox."""

    def __init__(self, rooms: Group) -> None:
        rooms.digest = BUNDLE
        self.rooms, self.clock, self.fails, self.stores = rooms, ManualClock(), False, True
        self.sent: list[dict[str, Any]] = []
        self.waiting: list[dict[str, Any]] = []
        self.saved = self._encoded()
        self.publisher = LearnedPublisher(
            SimpleNamespace(groups={"rooms": rooms}),  # type: ignore[arg-type]
            self,
            self._save,
            self.clock,
            self.waiting,
        )
        self.publisher.run_once()

    def append(self, body: Any, t: float, now: float, priority: int) -> None:
        assert priority == STATE
        self.sent.append(body)

    def in_memory(self, priority: int) -> bool:
        return not self.stores

    def resume(self, saved: bytes) -> None:
        """Start again from a checkpoint."""
        found = checkpoint.resume(checkpoint.decode(saved), {"rooms": self.rooms}, self.clock)
        assert found == (["rooms"], [])
        self.waiting += checkpoint.waiting_epochs(saved)
        self.publisher.start()
        self.publisher.run_once()

    def _encoded(self) -> bytes:
        return checkpoint.encode({"rooms": self.rooms}, self.clock, self.waiting)

    def _save(self) -> bool:
        if not self.fails:
            self.saved = self._encoded()
        return not self.fails

    def after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.publisher.run_once()

    def epochs(self) -> list[Increments]:
        pieces = [learned.from_body(body) for body in self.sent]
        assert len({piece.whole.epoch for piece in pieces}) == len(pieces)
        return [learned.assembled([piece], piece.whole.tensors) for piece in pieces]


def counted(rooms: Group) -> Increments:
    assert isinstance(rooms.model_port, Population)
    assert isinstance(rooms.model_port.runner, Learner)
    return rooms.model_port.runner.increments()


@pytest.fixture
def hub(model: Model) -> Hub:
    return Hub(group(model, learn_send_s=HOUR))


def test_once_per_hour_what_was_counted_since_goes_out_and_all_of_it_adds_up(hub: Hub) -> None:
    pass_ticks(hub.rooms, 0, 12)
    hub.after(HOUR - 1)
    assert hub.sent == []
    hub.after(1)
    pass_ticks(hub.rooms, 12, 19)
    hub.after(SETTLE_S)
    assert hub.publisher.deadline == hub.clock.monotonic() + HOUR - SETTLE_S
    hub.after(HOUR)
    first, second = hub.epochs()
    assert (first.updates, second.updates) == (48, 28)
    assert (first.units + second.units == counted(hub.rooms).units).all()
    assert {(body["population"], body["bundle"]) for body in hub.sent} == {("rooms", BUNDLE)}


def test_when_asked_it_sends_at_once_and_nothing_if_nothing_was_counted(hub: Hub) -> None:
    pass_ticks(hub.rooms, 0, 3)
    assert hub.publisher.send() == {"rooms": 1}
    assert hub.publisher.send("rooms") == {"rooms": 0}
    assert hub.publisher.send("halls") == {}
    assert len(hub.sent) == hub.publisher.status()["epochs"] == 1


def test_a_disk_that_refuses_is_waited_for_and_nothing_is_lost(hub: Hub) -> None:
    pass_ticks(hub.rooms, 0, 3)
    hub.fails = True
    hub.publisher.send()
    pass_ticks(hub.rooms, 3, 6)
    hub.publisher.send()
    assert (hub.sent, hub.publisher.status()["waiting"]) == ([], 2)
    hub.fails = False
    hub.after(RETRY_S)
    assert sum(one.units for one in hub.epochs()).tolist() == counted(hub.rooms).units.tolist()


@pytest.mark.parametrize("saved_in_between", [False, True])
def test_a_kill_counts_nothing_twice(hub: Hub, model: Model, saved_in_between: bool) -> None:
    """Killed after it sent, later than the last checkpoint: it goes on from that."""
    pass_ticks(hub.rooms, 0, 5)
    if saved_in_between:
        hub._save()
    pass_ticks(hub.rooms, 5, 12)
    hub.publisher.send()
    pass_ticks(hub.rooms, 12, 15)  # lost with the process
    again = Hub(group(model, learn_send_s=HOUR))
    again.resume(hub.saved)
    assert again.sent == hub.sent  # perhaps the outbox had not stored it: it goes again, as it was
    pass_ticks(again.rooms, 12, 19)
    again.publisher.send()
    together = sum(one.units for one in again.epochs())
    assert together.tolist() == counted(again.rooms).units.tolist()


def test_a_checkpoint_has_what_the_outbox_may_not_have_stored_and_no_longer(hub: Hub) -> None:
    hub.stores = False
    pass_ticks(hub.rooms, 0, 3)
    hub.publisher.send()
    hub.after(SETTLE_S)
    hub._save()
    assert checkpoint.waiting_epochs(hub.saved) == hub.sent
    hub.stores = True
    hub.after(SETTLE_S)
    hub._save()
    assert checkpoint.waiting_epochs(hub.saved) == []
    assert len(hub.sent) == 1
    assert hub.publisher.deadline == hub.clock.monotonic() + HOUR - 2 * SETTLE_S


def test_a_kill_before_the_checkpoint_takes_nothing_out(hub: Hub, model: Model) -> None:
    pass_ticks(hub.rooms, 0, 5)
    hub._save()
    before = hub.saved
    hub.fails = True
    hub.publisher.send()
    assert hub.sent == []
    again = Hub(group(model, learn_send_s=HOUR))
    again.resume(before)
    again.publisher.send()
    assert again.epochs()[0].updates == 20


def test_a_clock_that_is_set_back_repeats_no_epoch(hub: Hub) -> None:
    for first in (0, 3, 6):
        pass_ticks(hub.rooms, first, first + 3)
        hub.publisher.send()
    epochs = [body["epoch"] for body in hub.sent]
    assert epochs == sorted(set(epochs))


def test_the_outbox_numbers_it_with_telemetry_and_sends_it_on_its_own_topic(hub: Hub) -> None:
    pass_ticks(hub.rooms, 0, 3)
    hub.publisher.send()
    outbox = Outbox(OutboxSettings(flush_seconds=0.0), "up/telemetry", MemoryOutboxStore(), "up/learned")
    published: list[Any] = []

    def publish(publication: Any, _now: float) -> tuple[int, list[Any]]:
        published.append(publication)
        return len(published), []

    session: Any = SimpleNamespace(credit=20, limit=20, publish=publish)
    outbox.append({"rss": 1}, 1.0, 0.0)
    outbox.append(hub.sent[0], 1.0, 0.0, STATE)
    outbox.advance(session, 1.0, 1.0)
    outbox.advance(session, 2.0, 2.0)
    found = [(p.topic, messages.decode(p.payload)) for p in published]
    assert [(topic, message.seq) for topic, message in found] == [("up/telemetry", 1), ("up/learned", 2)]
    assert learned.from_body(found[1][1].body).whole.population == "rooms"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"learn_send_s": 60.0}, "learn_send_s: found 60, expected 0 or at least 3600"),
        ({"learn_send_s": HOUR, "learn": "off"}, "learn_send_s: found 3600, expected learn = 'population'"),
    ],
)
def test_what_cannot_be_sent_is_refused(model: Model, change: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        prepared(model, **change)
