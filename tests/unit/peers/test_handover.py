"""Populations lent and given back: never run by two, never lost, and only with the owner's signature."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import PeerError
from edge_agent.protocol.peers.handover import Loans
from edge_agent.protocol.peers.loans import Adopt, Drop, GiveBack, LoanSettings, Resume, Run, State
from edge_agent.protocol.peers.members import Members
from edge_agent.protocol.peers.parcel import Parcel, cut
from edge_agent.protocol.ports import Publication
from edge_agent.wire import messages
from edge_agent.wire.handover import BLOCK_BYTES, Handover, from_body, to_body
from edge_agent.wire.presence import Presence
from edge_agent.wire.signatures import SecretKey
from edge_agent.wire.topics import DeviceTopics

BUNDLE = b"bundle-1"
BELIEFS = bytes(range(256)) * 1000  # two blocks
KEYS = {name: SecretKey(bytes([number]) * 32, name) for number, name in enumerate(("a", "b", "c"))}
PUBLIC = {name: key.public for name, key in KEYS.items()}
HERE = {
    "a": Presence("a", 1, room=0, bundles=(BUNDLE,)),
    "b": Presence("b", 1, room=10**6, bundles=(BUNDLE,)),
    "c": Presence("c", 1, room=10**6, bundles=()),
}


class Town:
    """Three devices, the messages between them, and who runs the population."""

    def __init__(self) -> None:
        self.now = 0.0
        self.members = {name: Members(name, heartbeat=10.0) for name in HERE}
        self.loans = {
            name: Loans(DeviceTopics("f", name), self.members[name], KEYS[name], PUBLIC, LoanSettings(), 7)
            for name in HERE
        }
        self.running = {"a"}
        self.beliefs: dict[str, bytes] = {"a": BELIEFS}
        self.on_the_way: list[tuple[str, bytes]] = []
        self.word = 0
        self.talk()

    def talk(self, cut_off: str = "") -> None:
        self.word += 1
        for hearer, members in self.members.items():
            for name, presence in HERE.items():
                if hearer == name or cut_off not in (hearer, name):
                    members.hear(replace(presence, seq=self.word), self.now)
            members.expire(self.now)

    def perform(self, device: str, effects: list) -> None:
        for effect in effects:
            match effect:
                case Publication():
                    self.on_the_way.append((device, effect.payload))
                case Adopt():
                    self.beliefs[device] = effect.checkpoint
                case Run():
                    assert device not in self.running, "told twice"
                    self.running.add(device)
                case GiveBack():
                    self.running.discard(device)
                    moved_on = self.beliefs[device][:-1] + b"!"
                    self.perform(device, self.loans[device].give_back(effect.loan, moved_on, self.now))
                case Drop():
                    self.running.discard(device)
                    self.beliefs.pop(device, None)
                case Resume():
                    self.running.add(device)
                    self.beliefs[device] = effect.checkpoint
            assert len(self.running) <= 1, "two run it"

    def restart_owner(self) -> None:
        """Kill the owner and start it with its notes: what it lent stays still."""
        notes = self.loans["a"].lent()
        self.loans["a"] = Loans(
            DeviceTopics("f", "a"), self.members["a"], KEYS["a"], PUBLIC, LoanSettings(), 1000 + int(self.now)
        )
        self.running.discard("a")
        for head in notes:
            self.loans["a"].resume(head, BELIEFS, self.now)
        if not notes:
            self.running.add("a")
        assert len(self.running) <= 1, "two run it"

    def lend(self) -> None:
        self.running.discard("a")
        self.perform("a", self.loans["a"].offer("greenhouse", BUNDLE, 1000, self.beliefs["a"], self.now))

    def deliver(self, lost: float = 0.0, rng: random.Random | None = None, cut_off: str = "") -> None:
        pending, self.on_the_way = self.on_the_way, []
        for sender, payload in pending:
            for hearer in HERE:
                away = hearer == sender or cut_off in (hearer, sender)
                if not away and (rng is None or rng.random() >= lost):
                    self.perform(hearer, self.loans[hearer].receive(sender, payload, self.now))

    def pass_time(self, seconds: float, **network: object) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 5.0
            self.talk(str(network.get("cut_off", "")))
            for name in HERE:
                self.perform(name, self.loans[name].tick(self.now))
            for _ in range(3):
                self.deliver(**network)  # type: ignore[arg-type]


def test_a_population_is_lent_and_comes_back_with_what_it_learned() -> None:
    town = Town()
    town.lend()
    town.pass_time(10.0)
    assert town.running == {"b"}  # c has no bundle of that kind
    assert town.beliefs["b"] == BELIEFS
    assert town.loans["a"].states() == {("a", 8): State.LENT}
    town.perform("a", town.loans["a"].recall("greenhouse", town.now))
    town.pass_time(10.0)
    assert town.running == {"a"}
    assert town.beliefs == {"a": BELIEFS[:-1] + b"!"}
    assert all(loans.states() == {} for loans in town.loans.values())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 0.6), st.booleans(), st.integers(0, 60))
def test_whatever_is_lost_two_never_run_it_and_one_does_in_the_end(
    seed: int, lost: float, recall: bool, split: int
) -> None:
    town, rng = Town(), random.Random(seed)
    town.lend()
    town.pass_time(rng.choice([5.0, 30.0, 80.0]), lost=lost, rng=rng)
    if recall:
        town.perform("a", town.loans["a"].recall("greenhouse", town.now))
    town.pass_time(5.0 * split, lost=lost, rng=rng, cut_off=rng.choice(["a", "b"]))
    town.pass_time(60.0, lost=lost, rng=rng)
    town.pass_time(300.0)
    town.perform("a", town.loans["a"].recall("greenhouse", town.now))
    town.pass_time(60.0)
    assert town.running == {"a"}
    assert all(loans.states() == {} for loans in town.loans.values())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 0.5), st.lists(st.sampled_from(["wait", "recall", "restart"])))
def test_an_owner_that_starts_anew_with_its_notes_never_runs_it_beside_its_borrower(
    seed: int, lost: float, events: list[str]
) -> None:
    town, rng = Town(), random.Random(seed)
    town.lend()
    for event in events:
        town.pass_time(rng.choice([0.0, 5.0, 20.0]), lost=lost, rng=rng)
        if event == "recall":
            town.perform("a", town.loans["a"].recall("greenhouse", town.now))
        elif event == "restart":
            town.restart_owner()
    town.pass_time(400.0)
    town.perform("a", town.loans["a"].recall("greenhouse", town.now))
    town.pass_time(100.0)
    assert town.running == {"a"}
    assert all(loans.states() == {} for loans in town.loans.values())


def test_a_borrower_that_dies_leaves_the_owner_its_old_beliefs() -> None:
    town = Town()
    town.lend()
    town.pass_time(10.0)
    town.pass_time(300.0, cut_off="b")
    assert town.running == {"a"}
    assert town.beliefs["a"] == BELIEFS


def test_nobody_with_room_means_nothing_happens() -> None:
    town = Town()
    assert town.loans["a"].offer("greenhouse", BUNDLE, 10**7, BELIEFS, 0.0) == []
    assert town.loans["a"].states() == {}


def offer(**changes: object) -> Handover:
    head = Handover("offer", 8, "a", "b", "greenhouse", BUNDLE, 1000)
    return replace(next(iter(cut(head, b"beliefs", KEYS["a"]))), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes", [{"population": "another"}, {"digest": bytes(32)}, {"signature": bytes(64)}, {"size": 3}]
)
def test_an_offer_that_was_changed_is_refused(changes: dict) -> None:
    town = Town()
    payload = messages.encode(messages.Message(to_body(offer(**changes))))
    with pytest.raises(PeerError, match="without its signature"):
        town.loans["b"].receive("a", payload, 0.0)
    assert town.loans["b"].states() == {}


def test_nobody_offers_what_belongs_to_another() -> None:
    payload = messages.encode(messages.Message(to_body(offer())))
    with pytest.raises(PeerError, match="c offers what belongs to a"):
        Town().loans["b"].receive("c", payload, 0.0)


def test_blocks_of_another_parcel_do_not_mix() -> None:
    blocks = list(cut(Handover("offer", 1, "a", "b"), bytes(2 * BLOCK_BYTES + 5), KEYS["a"]))
    parcel = Parcel(blocks[0])
    assert not parcel.add(next(iter(cut(Handover("offer", 2, "a", "b"), b"x", KEYS["a"]))))
    for block in reversed(blocks):
        assert parcel.checkpoint() is None
        assert parcel.add(block)
    assert parcel.checkpoint() == bytes(2 * BLOCK_BYTES + 5)


def test_bodies_round_trip_and_wrong_ones_are_the_peers_fault() -> None:
    assert from_body(messages.decode(messages.encode(messages.Message(to_body(offer())))).body) == offer()
    for bad in ({"kind": "steal"}, {"kind": 5}, {"loan": -1}, {"part": 9}, {"data": "text"}):
        with pytest.raises(PeerError):
            from_body(to_body(offer()) | bad)
