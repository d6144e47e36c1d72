"""Lent populations: never run by two devices, never lost, only with the owner's signature."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import PeerError
from edge_agent.protocol.peers.block_buffer import BlockBuffer, cut
from edge_agent.protocol.peers.loan_effects import (
    Adopt,
    Drop,
    GiveBack,
    LoanSettings,
    LoanState,
    Resume,
    Run,
)
from edge_agent.protocol.peers.loan_protocol import Loans
from edge_agent.protocol.peers.members import Members
from edge_agent.protocol.ports import Publication
from edge_agent.wire import messages
from edge_agent.wire.loan import BLOCK_BYTES, LoanMessage, from_body, to_body
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
                    members.receive(replace(presence, seq=self.word), self.now)
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
    assert town.loans["a"].states() == {("a", 8): LoanState.LENT}
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


def offer(**changes: object) -> LoanMessage:
    head = LoanMessage("offer", 8, "a", "b", "greenhouse", BUNDLE, 1000)
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
    blocks = list(cut(LoanMessage("offer", 1, "a", "b"), bytes(2 * BLOCK_BYTES + 5), KEYS["a"]))
    buffer = BlockBuffer(blocks[0])
    assert not buffer.add(next(iter(cut(LoanMessage("offer", 2, "a", "b"), b"x", KEYS["a"]))))
    for block in reversed(blocks):
        assert buffer.checkpoint() is None
        assert buffer.add(block)
    assert buffer.checkpoint() == bytes(2 * BLOCK_BYTES + 5)


def test_bodies_round_trip_and_wrong_ones_are_the_peers_fault() -> None:
    assert from_body(messages.decode(messages.encode(messages.Message(to_body(offer())))).body) == offer()
    for bad in ({"kind": "steal"}, {"kind": 5}, {"loan": -1}, {"part": 9}, {"data": "text"}):
        with pytest.raises(PeerError):
            from_body(to_body(offer()) | bad)


def said(effects: list) -> list[LoanMessage]:
    return [from_body(messages.decode(e.payload).body) for e in effects if isinstance(e, Publication)]


def told(loans: Loans, sender: str, message: LoanMessage, now: float) -> list:
    return loans.receive(sender, messages.encode(messages.Message(to_body(message))), now)


def lent() -> Town:
    town = Town()
    town.lend()
    town.pass_time(10.0)
    assert town.running == {"b"}
    return town


def test_a_borrower_that_cannot_make_it_ready_says_why_and_the_owner_goes_on() -> None:
    town = Town()
    town.lend()
    for device, payload in town.on_the_way:
        town.perform("b", town.loans["b"].receive(device, payload, 0.0))
    town.on_the_way.clear()
    assert town.loans["b"].states() == {("a", 8): LoanState.ADOPTED}
    effects = town.loans["b"].refuse(("a", 8), "no memory")
    (word,) = said(effects)
    assert (word.kind, word.to, word.loan, word.reason) == ("refused", "a", 8, "no memory")
    town.perform("b", effects)
    town.deliver()
    assert town.running == {"a"}
    assert town.beliefs["a"] == BELIEFS
    assert all(loans.states() == {} for loans in town.loans.values())


@pytest.mark.parametrize(
    ("me", "taken"),
    [
        ({"room": 1000}, True),
        ({"room": 999}, False),
        ({"room": 1000, "bundles": ()}, False),
    ],
)
def test_who_lost_its_room_meanwhile_refuses_at_once(me: dict, taken: bool) -> None:
    town = Town()
    town.members["b"].receive(replace(HERE["b"], seq=9, **me), 0.0)
    town.lend()
    town.deliver()
    assert (("a", 8) in town.loans["b"].states()) == taken
    town.deliver()
    assert town.running == (set() if taken else {"a"})
    if not taken:
        assert town.beliefs["a"] == BELIEFS


def test_the_most_trusted_host_is_asked_first_then_the_one_with_most_room() -> None:
    def asked(*hosts: Presence, accounts: tuple = ()) -> str:
        members = Members("a", heartbeat=10.0)
        members.receive(Presence("a", 1, room=10**9, bundles=(BUNDLE,)), 0.0)
        for host in hosts:
            members.receive(host, 0.0)
        for witness in ("w1", "w2", "w3"):
            members.receive(Presence(witness, 1, accounts=accounts), 0.0)
        loans = Loans(DeviceTopics("f", "a"), members, KEYS["a"], PUBLIC, LoanSettings(), 7)
        words = said(loans.offer("greenhouse", BUNDLE, 1000, b"beliefs", 0.0))
        return words[0].to if words else ""

    small, large = (Presence(n, 1, room=r, bundles=(BUNDLE,)) for n, r in (("b", 1000), ("c", 2000)))
    assert asked(small, large) == "c"
    assert asked(replace(small, room=2000), large) == "b"
    assert asked(small, large, accounts=(("c", 0, 60),)) == "b"
    assert asked(replace(small, room=999)) == ""
    assert asked(replace(large, bundles=())) == ""
    assert asked(replace(large, device="stranger")) == ""  # nobody knows its key


def test_an_offer_that_nobody_answers_is_said_again_and_then_withdrawn() -> None:
    town, times = Town(), []
    town.lend()
    loans, now = town.loans["a"], 0.0
    while loans.states():
        now += 1.0
        town.members["a"].receive(replace(HERE["b"], seq=100 + int(now)), now)
        effects = loans.tick(now)
        if {word.kind for word in said(effects)} == {"offer"}:
            assert len(said(effects)) == 2  # both blocks
            times.append(now)
    assert times == [float(t) for t in range(5, 61, 5)]
    assert now == 61.0
    assert effects == [Resume("greenhouse", BELIEFS)]


def test_what_is_lent_is_confirmed_every_minute_and_a_recall_said_until_it_is_answered() -> None:
    town = lent()
    loans, start = town.loans["a"], town.now
    words = []
    for second in range(1, 130):
        town.now = start + second
        town.talk()
        words += [(second, word.kind) for word in said(loans.tick(town.now))]
    assert [kind for _, kind in words] == ["confirmed"] * 2
    assert words[1][0] - words[0][0] == 60
    (recall,) = said(loans.recall("greenhouse", town.now))
    assert recall.kind == "recall"
    assert loans.recall("greenhouse", town.now) == []
    assert loans.recall("another", town.now) == []
    assert loans.tick(town.now + 4.9) == []
    assert [word.kind for word in said(loans.tick(town.now + 5.0))] == ["recall"]


def test_the_borrower_stops_a_lease_after_the_owner_fell_silent_and_the_owner_waits_for_two() -> None:
    town = lent()
    for name, other in (("a", "b"), ("b", "a")):
        town.members[name].end(other, 1, town.now)
    start = town.now
    ends = {}
    for second in range(200):
        for name in ("a", "b"):
            for effect in town.loans[name].tick(start + second):
                if isinstance(effect, Drop | Resume):
                    ends[name] = (second, effect)
    (stopped, drop), (begun, resume) = ends["b"], ends["a"]
    assert (drop, resume) == (Drop(("a", 8)), Resume("greenhouse", BELIEFS))
    assert 85 <= stopped <= 91
    assert 175 <= begun <= 181


def test_whoever_forgot_a_loan_says_so_to_who_asks_about_it() -> None:
    owner, borrower = Town().loans["a"], Town().loans["b"]
    for kind in ("adopted", "returned"):
        (word,) = said(told(owner, "b", LoanMessage(kind, 5, "a", "a"), 0.0))
        assert (word.kind, word.loan, word.owner, word.to) == ("released", 5, "a", "b")
    for kind in ("recall", "confirmed"):
        (word,) = said(told(borrower, "a", LoanMessage(kind, 5, "a", "b"), 0.0))
        assert (word.kind, word.loan, word.owner, word.to) == ("refused", 5, "a", "a")
        assert word.reason == "no such loan"
    for sender, word in (
        ("b", LoanMessage("recall", 5, "a", "a")),  # nobody recalls what is another's
        ("c", LoanMessage("recall", 5, "a", "b")),
        ("a", LoanMessage("released", 5, "a", "b")),
        ("a", LoanMessage("refused", 5, "a", "b")),
        ("a", LoanMessage("recall", 5, "a", "c")),  # for somebody else
    ):
        assert told(borrower, sender, word, 0.0) == []


def test_only_the_two_of_a_loan_can_move_it() -> None:
    town = lent()
    before = {name: loans.states() for name, loans in town.loans.items()}
    for hearer, kind in (("a", "returned"), ("a", "refused"), ("b", "released"), ("b", "recall")):
        told(town.loans[hearer], "c", LoanMessage(kind, 8, "a", hearer), town.now)
    assert town.loans["b"].receive("a", messages.encode(messages.Message(to_body(offer()))), town.now) == []
    assert {name: loans.states() for name, loans in town.loans.items()} == before


def test_beliefs_come_back_only_with_the_borrowers_signature() -> None:
    town = lent()
    head = LoanMessage("returned", 8, "a", "a", "greenhouse", BUNDLE)
    for key in (KEYS["a"], KEYS["c"]):
        forged = next(iter(cut(head, b"evil", key)))
        with pytest.raises(PeerError, match="beliefs from b without its signature"):
            told(town.loans["a"], "b", forged, town.now)
    assert town.loans["a"].states() == {("a", 8): LoanState.LENT}
    effects = told(town.loans["a"], "b", next(iter(cut(head, b"grown", KEYS["b"]))), town.now)
    assert effects[-1] == Resume("greenhouse", b"grown")
    assert [word.kind for word in said(effects)] == ["released"]


def test_of_two_returns_the_later_one_counts_whole() -> None:
    town = lent()
    head = LoanMessage("returned", 8, "a", "a", "greenhouse", BUNDLE)
    first = list(cut(head, b"1" * (BLOCK_BYTES + 1), KEYS["b"]))
    second = list(cut(head, b"2" * (BLOCK_BYTES + 1), KEYS["b"]))
    for block in (first[0], second[1]):
        assert told(town.loans["a"], "b", block, town.now) == []
    effects = told(town.loans["a"], "b", second[0], town.now)
    assert effects[-1] == Resume("greenhouse", b"2" * (BLOCK_BYTES + 1))


def test_an_owner_that_starts_anew_is_asked_whether_it_still_lends() -> None:
    town = lent()
    town.members["b"].receive(replace(HERE["a"], incarnation=2), town.now)
    (word,) = said(town.loans["b"].tick(town.now))
    assert (word.kind, word.to, word.loan) == ("adopted", "a", 8)
    assert said(town.loans["b"].tick(town.now)) == []  # once a life
    forgot = Loans(DeviceTopics("f", "a"), town.members["a"], KEYS["a"], PUBLIC, LoanSettings(), 900)
    (answer,) = told(forgot, "b", word, town.now)
    assert town.loans["b"].receive("a", answer.payload, town.now) == [Drop(("a", 8))]


def test_only_what_a_peer_may_run_is_kept_over_a_restart() -> None:
    town = Town()
    town.lend()
    assert town.loans["a"].lent() == []
    town.pass_time(10.0)
    (head,) = town.loans["a"].lent()
    assert (head.loan, head.owner, head.to, head.population, head.bundle) == (
        8,
        "a",
        "b",
        "greenhouse",
        BUNDLE,
    )
    assert town.loans["b"].lent() == []
