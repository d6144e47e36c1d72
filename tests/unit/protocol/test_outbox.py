import random
import zlib
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.protocol.outbox import STATE, Outbox, OutboxSettings, thin
from edge_agent.protocol.outbox_store import Batch, merged
from edge_agent.protocol.ports import Acked, Connected, Publication
from edge_agent.protocol.session import Deliver, Delivered, Online, Session, SessionSettings, carry_out
from edge_agent.testing.broker import Adversary, MemoryBroker
from edge_agent.testing.clock import ManualClock
from edge_agent.testing.memory_outbox import MemoryOutboxStore
from edge_agent.wire import messages
from edge_hub.fleet import Gaps

BIRTH = Publication("birth", b"1")


class Device:
    """A process with an outbox: dies and starts again on the same store."""

    def __init__(
        self, broker: MemoryBroker, clock: ManualClock, store: MemoryOutboxStore, **limits: float
    ) -> None:
        self.broker, self.clock, self.store = broker, clock, store
        self.limits = limits
        self.start()

    def start(self) -> None:
        self.client = self.broker.client("device")
        self.session = Session(
            SessionSettings(backoff_base=0.1, backoff_cap=1.0, window=8, ack_timeout=20.0),
            lambda online: Publication("birth", b"1" if online else b"0"),
            [],
            random.Random(1),
        )
        self.outbox = Outbox(OutboxSettings(**self.limits), "telemetry", self.store)  # type: ignore[arg-type]
        self.perform(self.session.start(self.clock.monotonic()))

    def perform(self, effects: list) -> None:
        for effect in carry_out(effects, self.client):
            match effect:
                case Delivered(token):
                    self.outbox.delivered(token)
                case Online():
                    self.outbox.online()
                case Deliver():
                    raise AssertionError

    def run_once(self, seconds: float = 0.1) -> None:
        now = self.clock.monotonic()
        for event in self.client.events():
            self.perform(self.session.handle(event, now))
        self.perform(self.session.tick(now))
        self.perform(self.outbox.advance(self.session, now, self.clock.time()))
        self.clock.advance(seconds)
        self.broker.run()

    def measure(self, value: object, priority: int = 1) -> None:
        self.outbox.append({"v": value}, self.clock.time(), self.clock.monotonic(), priority)


def make(adversary: Adversary | None = None, **limits: float) -> tuple[Device, MemoryBroker]:
    clock = ManualClock()
    broker = MemoryBroker(clock, adversary)
    return Device(broker, clock, MemoryOutboxStore(), **limits), broker


def arrived(broker: MemoryBroker) -> list[messages.Message]:
    return [messages.decode(p.payload) for p in broker.log if p.topic == "telemetry"]


def seen_twice(items: list[Any]) -> set[Any]:
    return {item for item, count in Counter(items).items() if count > 1}


def test_nothing_is_sent_before_it_is_durable() -> None:
    device, broker = make()
    device.store.slow = True
    device.measure(1)
    for _ in range(100):
        device.run_once()
    assert arrived(broker) == []
    device.store.finish()
    for _ in range(3):
        device.run_once()
    assert [(m.seq, m.body["v"]) for m in arrived(broker)] == [(1, 1)]


def test_what_the_broker_has_leaves_the_store() -> None:
    device, _ = make()
    for value in range(20):
        device.measure(value)
    for _ in range(300):
        device.run_once()
    assert device.store.entries == {}
    assert device.outbox.backlog == 0
    counters = device.outbox.counters
    assert (counters.stored, counters.sent, counters.delivered) == (20, 20, 20)


def test_an_entry_arrives_as_what_it_was_made_to_be() -> None:
    device, broker = make()
    made = device.clock.time()
    device.measure({"a key": [b"of", 1, "kind"]})
    for _ in range(50):
        device.run_once()
    (publication,) = [p for p in broker.log if p.topic == "telemetry"]
    (message,) = arrived(broker)
    assert (message.id, message.seq, message.t) == ("memory-1", 1, made)
    assert message.body == {"v": {"a key": [b"of", 1, "kind"]}, "outbox": "memory"}
    assert publication.content_type == "application/msgpack"


@pytest.mark.parametrize(("window", "left"), [(1, 0), (2, 1), (9, 4), (20, 4)])
def test_room_is_left_for_replies_and_actions(window: int, left: int) -> None:
    session = Session(SessionSettings(window=window), lambda _: BIRTH, [], random.Random(1))
    session.start(0.0)
    session.handle(Connected(5), 0.0)
    session.handle(Acked(1), 0.0)
    outbox = Outbox(OutboxSettings(flush_seconds=0.0), "telemetry", MemoryOutboxStore())
    for value in range(50):
        outbox.append({"v": value}, 0.0, 0.0)
    for _ in range(3):
        outbox.advance(session, 0.0, 0.0)
    assert session.credit == left


def test_numbers_go_on_after_a_restart() -> None:
    device, broker = make()
    for value in range(5):
        device.measure(value)
    for _ in range(300):
        device.run_once()
    device.start()
    device.measure(5)
    for _ in range(300):
        device.run_once()
    assert [m.seq for m in arrived(broker)] == [1, 2, 3, 4, 5, 6]


def test_a_backlog_is_historical_in_order_and_does_not_starve_the_present() -> None:
    device, broker = make(flush_seconds=0.0)
    broker.stop()
    for value in range(400):
        device.measure(value)
        device.run_once()
    broker.start()
    for value in range(400, 600):
        device.measure(value)
        device.run_once()
    seen = arrived(broker)
    old = [m.seq for m in seen if m.body.get("historical")]
    new = [m.seq for m in seen if not m.body.get("historical")]
    assert sorted(seen_twice(old + new)) == []
    assert old == sorted(old)
    assert new == sorted(new)
    first_new = next(i for i, m in enumerate(seen) if not m.body.get("historical"))
    last_old = max(i for i, m in enumerate(seen) if m.body.get("historical"))
    assert first_new < 50 < last_old
    assert max(old) < min(new)


def test_over_the_limit_the_past_gets_coarser_and_the_rest_stays() -> None:
    device, broker = make(max_bytes=20_000, flush_seconds=0.0)
    broker.stop()
    rng = random.Random(3)
    for value in range(2000):
        device.measure([value, rng.random()], STATE if value % 200 == 0 else 1)
        device.run_once()
        assert device.outbox.size <= 20_100
    kept = sorted(device.store.entries)
    assert kept[-1] == 2000
    assert len(kept) + device.outbox.counters.thinned == 2000
    assert all(number in kept for number in range(1, 2000, 200))  # state stays
    broker.start()
    for _ in range(2000):
        device.run_once()
    gaps = Gaps()
    for message in arrived(broker):
        gaps.skip(message.body.get("skipped", ()))
        gaps.note(message.seq)
    assert device.outbox.counters.thinned > 500
    assert gaps.missing == set()
    assert {m.body["v"][0] for m in arrived(broker)} >= {0, 200, 1800, 1999}
    assert device.store.skipped(10) == ()


def test_what_comes_makes_room_for_itself() -> None:
    device, broker = make(max_bytes=5000)
    broker.stop()
    rng = random.Random(3)
    for _ in range(12):
        for _ in range(10):
            device.measure(rng.randbytes(80))
        for _ in range(20):
            device.run_once()
        assert device.outbox.size <= 5000
    assert device.outbox.size > 3000


def test_what_is_on_its_way_is_not_given_up() -> None:
    device, broker = make(Adversary(delay=3.0), max_bytes=2000, flush_seconds=0.0)
    for value in range(400):
        device.measure(value)
        device.run_once()
    for _ in range(600):
        device.run_once()
    gone = {
        seq
        for m in arrived(broker)
        for first, last in m.body.get("skipped", ())
        for seq in range(first, last + 1)
    }
    seen = {m.seq for m in arrived(broker)}
    assert len(gone) > 50
    assert gone.isdisjoint(seen)
    assert device.outbox.backlog == sum(len(e.data) for e in device.store.entries.values())


@pytest.mark.parametrize("confirmed", [False, True])
def test_more_gaps_than_a_message_tells_are_told_in_several_and_once(confirmed: bool) -> None:
    gaps = [(seq, seq) for seq in range(1, 900, 2)]
    device, broker = make(flush_seconds=0.0, confirm=confirmed)
    device.store.write(Batch(skipped=tuple(gaps)))
    device.store.last = 900
    device.start()
    known = 0
    for value in range(60):
        seen = arrived(broker)
        device.measure(value)
        device.measure(value)
        device.run_once()  # the broker's acknowledgements of what is seen come before the hub's word
        for message in seen[known:]:
            confirm(device, [message.seq, message.seq])
        known = len(seen)
    told = [[tuple(r) for r in m.body.get("skipped", ())] for m in seen]
    assert [r for ranges in told for r in ranges] == gaps
    assert max(map(len, told)) <= 200
    assert device.store.skipped(1) == ()


def test_every_second_one_is_given_up_the_oldest_first() -> None:
    assert thin([(3, 30), (4, 40), (7, 70), (9, 90), (11, 0)]) == [(3, 30), (7, 70), (11, 0)]


def test_old_samples_are_given_up_by_age() -> None:
    device, broker = make(max_age=100.0, flush_seconds=0.0)
    broker.stop()
    device.measure("old")
    device.run_once(200.0)
    device.measure("new")
    device.run_once()
    device.run_once()
    assert sorted(device.store.entries) == [2]


def test_a_full_disk_keeps_the_newest_in_memory_within_bounds() -> None:
    device, broker = make(pending_bytes=5000, flush_seconds=0.0)
    device.store.failing = "database or disk is full"
    for value in range(1000):
        device.measure(value)
        device.run_once()
    assert device.outbox.backlog <= 5000
    assert device.outbox.counters.overflow > 0
    assert "full" in device.outbox.failure
    device.store.failing = ""
    for _ in range(500):
        device.run_once()
    seen = arrived(broker)
    assert seen[-1].body["v"] == 999
    assert [m.seq for m in seen] == list(range(1, len(seen) + 1))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 0.1), st.lists(st.sampled_from("mmmmtttskb"), max_size=120))
def test_everything_durable_arrives_without_gaps_whatever_happens(seed: int, cut: float, story: str) -> None:
    """m: measure, t: time passes, s: the store is slow from now on or not, k: the process dies, b: the
    broker does."""
    device, broker = make(Adversary(seed=seed, cut=cut, delay=0.3), flush_seconds=0.2)
    value, durable = 0, 0
    for act in story:
        durable = max(durable, device.store.last)
        match act:
            case "m":
                device.measure(value)
                value += 1
            case "s":
                device.store.slow = not device.store.slow
            case "k":
                device.store.power_cut()
                broker.cut("device")
                device.start()
            case "b":
                broker.stop()
                device.run_once(1.0)
                broker.start()
        device.run_once()
    device.store.slow = False
    device.store.finish()
    for _ in range(3000):
        device.run_once(0.3)
        if not device.store.entries and not device.outbox.backlog:
            break
    gaps = Gaps()
    values = [(m.seq, m.body["v"]) for m in arrived(broker) if gaps.note(m.seq)]
    assert gaps.missing == set()
    assert len(values) >= durable
    ordered = [v for _, v in sorted(values)]
    assert ordered == sorted(ordered)
    assert not device.store.entries


def test_an_entry_that_the_disk_changed_is_told_as_skipped() -> None:
    device, broker = make()
    broker.stop()
    for value in range(5):
        device.measure(value)
    for _ in range(50):
        device.run_once()
    for seq, data in ((3, b"garbage"), (4, zlib.compress(b"\xc1"))):
        device.store.entries[seq] = replace(device.store.entries[seq], data=data)
    broker.start()
    device.measure("after")
    for _ in range(300):
        device.run_once()
    device.measure("later")
    for _ in range(300):
        device.run_once()
    gaps = Gaps()
    for message in arrived(broker):
        gaps.skip(message.body.get("skipped", ()))
        gaps.note(message.seq)
    assert gaps.missing == set()
    assert device.outbox.counters.damaged == 2
    assert not device.store.entries


def test_a_failed_transaction_is_tried_again_whole() -> None:
    device, _ = make()
    device.measure(1)
    for _ in range(30):
        device.run_once()
    device.store.failing = "disk I/O error"
    for _ in range(200):
        device.run_once()
    assert device.outbox.counters.failures > 0
    device.store.failing = ""
    for _ in range(200):
        device.run_once()
    assert not device.store.entries


def test_what_happens_while_a_transaction_fails_is_not_forgotten() -> None:
    device, _ = make(flush_seconds=0.0)
    device.measure("stored")
    device.run_once()
    device.store.slow, device.store.failing = True, "disk I/O error"
    device.measure("being stored")
    device.run_once()  # what is stored goes out
    assert device.store.at_work
    device.measure("came meanwhile")
    device.run_once()  # the broker has it: it is to be removed, after what is under way
    assert device.outbox.counters.delivered == 1
    device.store.finish()
    device.run_once()
    waiting = ["being stored", "came meanwhile"]
    assert device.outbox.backlog == sum(len(zlib.compress(msgpack.packb({"v": v}), 1)) for v in waiting)
    device.store.slow, device.store.failing = False, ""
    device.store.finish()
    for _ in range(100):
        device.run_once()
    assert (device.store.entries, device.outbox.backlog) == ({}, 0)
    assert (device.outbox.counters.stored, device.outbox.counters.delivered) == (3, 3)


def test_closing_stores_what_waits_and_removes_what_arrived() -> None:
    device, broker = make(max_age=1000.0)
    device.measure(1)
    for _ in range(40):
        device.run_once()
    assert [m.seq for m in arrived(broker)] == list(device.store.entries) == [1]  # removal has time
    device.outbox.close(device.clock.time(), lambda: None)
    assert device.store.entries == {}
    device.store.slow = True
    device.measure(2)
    for _ in range(30):
        device.run_once()
    assert device.store.at_work
    device.measure(3)
    device.outbox.close(device.clock.time(), device.store.finish)
    assert sorted(device.store.entries) == [2, 3]
    device.outbox.close(device.clock.time(), device.store.finish)
    assert device.outbox.failure == ""


def test_closing_tries_a_store_that_fails_once() -> None:
    device, _ = make()
    device.measure(1)
    device.store.failing = "disk I/O error"
    for failures in (1, 2):
        device.outbox.close(device.clock.time(), lambda: None)
        assert device.outbox.counters.failures == failures
    device.store.failing = ""
    device.outbox.close(device.clock.time(), lambda: None)
    assert list(device.store.entries) == [1]


def test_a_store_that_was_set_aside_is_numbered_anew_under_its_name() -> None:
    device, broker = make(flush_seconds=1.0)
    broker.stop()
    for value in range(3):
        device.measure(value)
        for _ in range(15):
            device.run_once()
    assert device.store.last == 3
    device.store.failing, device.store.name = "file is not a database", "anew"
    device.store.last, device.store.entries = 0, {}
    device.measure("after")
    for _ in range(15):
        device.run_once()
    assert (device.outbox.name, device.store.last, device.outbox.size) == ("anew", 0, 0)
    device.store.failing = ""
    broker.start()
    for _ in range(200):
        device.run_once()
    assert [(m.id, m.body["v"], m.body["outbox"]) for m in arrived(broker)] == [("anew-1", "after", "anew")]
    assert device.outbox.backlog == 0


def test_what_waits_is_stored_in_time_and_counted_meanwhile() -> None:
    device, _ = make(flush_seconds=2.0)
    outbox, now = device.outbox, device.clock.monotonic()
    assert outbox.deadline is None
    for _ in range(3):
        device.measure("x")
        device.run_once(0.5)
        assert outbox.deadline == now + 2.0
    waiting = outbox.backlog
    assert waiting == 3 * len(zlib.compress(msgpack.packb({"v": "x"}), 1))
    device.store.slow = True
    device.run_once(0.5)
    device.run_once()
    assert device.store.at_work
    assert outbox.deadline is None
    assert (outbox.size, outbox.backlog) == (0, waiting)
    device.measure("more")
    device.store.finish()
    device.run_once()
    assert (outbox.size, device.store.last) == (waiting, 3)


def test_memory_gives_up_the_oldest_samples_first_and_state_last() -> None:
    device, _ = make(pending_bytes=500)
    device.store.failing = "disk full"
    device.measure("state", STATE)
    for value in range(100):
        device.measure(value)
    device.store.failing = ""
    device.outbox.close(device.clock.time(), lambda: None)
    kept = [msgpack.unpackb(zlib.decompress(e.data))["v"] for e in device.store.entries.values()]
    assert kept == ["state", *range(100 - len(kept) + 1, 100)]
    assert len(kept) + device.outbox.counters.overflow == 101
    assert 400 < device.outbox.backlog <= 500
    device.measure("y" * 2000 + str(random.Random(1).randbytes(2000)))
    device.outbox.close(device.clock.time(), lambda: None)
    assert len(device.store.entries) == len(kept) + 1  # one may be larger than the limit


def test_memory_is_bounded_while_the_store_is_at_work() -> None:
    device, _ = make(pending_bytes=500, flush_seconds=0.0)
    device.store.slow = True
    for value in range(20):
        device.measure(value)
    device.run_once()
    assert device.store.at_work
    for value in range(100):
        device.measure(value)
        assert device.outbox.backlog <= 500


def confirm(device: Device, *ranges: object, outbox: str = "memory") -> None:
    device.outbox.confirmed(messages.encode(messages.Message({"outbox": outbox, "ranges": list(ranges)})))


def test_what_a_broker_lost_goes_again_until_the_hub_confirms_it() -> None:
    device, broker = make(confirm=True)
    for value in range(5):
        device.measure(value)
    for _ in range(200):
        device.run_once()
    assert sorted(device.store.entries) == [1, 2, 3, 4, 5]
    confirm(device, [1, 2])
    confirm(device, [1, 5], outbox="another")
    confirm(device, [4, 4])
    confirm(device, "noise", [5, 5])  # one range that is none, and nothing of the message counts
    confirm(device, [3])
    device.outbox.confirmed(b"noise")
    device.outbox.confirmed(b"noise")
    assert device.outbox.counters.malformed == 4
    broker.stop()
    for _ in range(200):
        device.run_once()
    broker.start()
    for _ in range(200):
        device.run_once()
    assert [m.seq for m in arrived(broker)] == [1, 2, 3, 4, 5, 3, 5]
    assert sorted(device.store.entries) == [3, 5]
    confirm(device, [1, 5])
    for _ in range(200):
        device.run_once()
    assert not device.store.entries


def test_what_later_ones_overtook_goes_again_at_once() -> None:
    device, broker = make(confirm=True, flush_seconds=0.0)
    for value in range(300):
        device.measure(value)
        device.run_once()
    for _ in range(300):
        device.run_once()
    confirm(device, [1, 9], [11, 300])
    for _ in range(50):
        device.run_once()
    assert [m.seq for m in arrived(broker)][-1] == 10
    assert len(arrived(broker)) == 301


def test_silence_of_the_hub_makes_it_send_again_now_and_then() -> None:
    device, broker = make(confirm=True, confirm_seconds=100.0)
    device.measure(1)
    for _ in range(3000):
        device.run_once()
    assert [m.seq for m in arrived(broker)] == [1, 1, 1]


def test_a_hub_may_confirm_before_the_broker_acknowledges() -> None:
    device, _ = make(confirm=True, flush_seconds=0.0)
    device.measure(1)
    for _ in range(20):
        if device.outbox.counters.sent:
            break
        device.run_once()
    confirm(device, [1, 1])
    for _ in range(200):
        device.run_once()
    assert not device.store.entries


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5))))
def test_ranges_merge_to_the_same_numbers_with_a_hole_between_any_two(pairs: list[tuple[int, int]]) -> None:
    ranges = [(first, first + more) for first, more in pairs]
    found = merged(ranges)
    numbers = [seq for first, last in found for seq in range(first, last + 1)]
    assert numbers == sorted({seq for first, last in ranges for seq in range(first, last + 1)})
    assert all(second[0] > first[1] + 1 for first, second in pairwise(found))


def test_what_is_measured_does_not_wait_for_what_is_to_be_removed() -> None:
    device, broker = make()
    device.measure(1)
    for _ in range(40):
        device.run_once()
    assert [m.body["v"] for m in arrived(broker)] == [1]
    assert device.outbox.backlog > 0  # acknowledged, and to be removed with a later transaction
    device.measure(2)
    for _ in range(25):
        device.run_once()
    assert [m.body["v"] for m in arrived(broker)] == [1, 2]
    assert list(device.store.entries) == [2]
