"""The roster converges whatever the order, loss or repetition; wills and goodbyes end what they name."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import PeerError
from edge_agent.protocol.peers.members import PATIENCE, Members
from edge_agent.protocol.peers.objectives import Candidate
from edge_agent.protocol.peers.roster import Roster, RosterEntry
from edge_agent.wire.presence import Place, Presence

devices = st.sampled_from(["a", "b", "c"])
words = st.builds(
    Presence,
    device=devices,
    incarnation=st.integers(0, 3),
    seq=st.integers(0, 3),
    leaving=st.booleans(),
    battery=st.integers(0, 3),
)
wills = st.tuples(devices, st.integers(0, 3))
events = st.lists(words | wills, max_size=12)
entries = st.builds(
    RosterEntry, st.none() | words.filter(lambda word: word.device == "a"), st.integers(-1, 3)
)


def roster(happened: list) -> Roster:
    made = Roster()
    for event in happened:
        if isinstance(event, Presence):
            made.put(event)
        else:
            made.end(*event)
    return made


@given(events, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(happened: list, rng: random.Random) -> None:
    shuffled = happened + rng.sample(happened, len(happened) // 2)
    rng.shuffle(shuffled)
    assert roster(shuffled) == roster(happened)


@given(entries, entries, entries)
def test_the_join_is_commutative_associative_and_idempotent(
    one: RosterEntry, two: RosterEntry, three: RosterEntry
) -> None:
    assert one.join(two) == two.join(one)
    assert one.join(two).join(three) == one.join(two.join(three))
    assert one.join(one) == one


@given(events, events)
def test_what_was_lost_comes_with_any_later_word(seen: list, missed: list) -> None:
    assert roster(seen + missed + seen) == roster(seen + missed)
    assert roster(seen[1:] + missed + seen) == roster(seen + missed)


def test_rosters_that_know_other_things_are_not_alike() -> None:
    one, two = (Presence("a", 1, seq=1, battery=level) for level in (1, 2))
    assert roster([one]) != roster([two])
    assert roster([one]) != roster([])
    assert roster([]) != 0
    assert roster([one, two]) == roster([two, one])  # two words under one number: the same one stays


def test_of_a_device_never_heard_of_nothing_is_known() -> None:
    entry = roster([]).entry("a")
    assert entry.presence is None
    assert not entry.present


def test_a_will_that_is_late_does_not_bury_the_device_that_is_back() -> None:
    made = Roster()
    made.put(Presence("a", incarnation=1, seq=9))
    made.put(Presence("a", incarnation=2, seq=1))
    made.end("a", 1)
    assert made.entry("a").present
    made.end("a", 2)
    assert not made.entry("a").present
    made.put(Presence("a", incarnation=2, seq=7))
    assert not made.entry("a").present
    made.put(Presence("a", incarnation=3))
    assert made.entry("a").present


def test_a_full_roster_refuses_names_and_keeps_what_it_has() -> None:
    made = Roster(limit=2)
    made.put(Presence("a", 1))
    made.put(Presence("b", 1))
    with pytest.raises(PeerError, match="c would be one more than 2 devices"):
        made.put(Presence("c", 1))
    assert made.put(Presence("a", 2))
    assert list(made) == ["a", "b"]


def test_silence_and_old_retained_words_do_not_count_as_here() -> None:
    members = Members("me", heartbeat=10.0)
    members.receive(Presence("me", 1), now=0.0)
    members.receive(Presence("fresh", 1), now=100.0, age=5.0)
    members.receive(Presence("stale", 1), now=100.0, age=PATIENCE * 10 + 1)
    assert "fresh" in members
    assert "stale" not in members
    assert members.expire(100.0 + 9.9) == []
    assert members.expire(100.0 + 10.1) == ["fresh"]
    assert "me" in members
    members.receive(Presence("stale", 1, seq=1), now=111.0)
    assert "stale" in members
    assert members.deadline == 111.0 + PATIENCE * 10
    assert members.expire(members.deadline) == []
    assert len(members) == 2
    assert members.expire(members.deadline + 0.1) == ["stale"]
    assert members.deadline == math.inf


def test_an_old_word_that_comes_late_does_not_make_a_device_older() -> None:
    members = Members("me", heartbeat=10.0)
    assert members.receive(Presence("a", 1, seq=1), now=10.0)
    assert members.receive(Presence("a", 1, seq=2), now=12.0, age=9.0)  # retained, of 3.0
    assert members.expire(20.0) == []
    assert not members.receive(Presence("a", 1, seq=1), now=21.0)
    assert members.expire(25.1) == ["a"]
    assert members.receive(Presence("exact", 1), now=100.0, age=15.0)
    assert "exact" in members


def test_formation_sees_of_a_device_what_it_says_and_its_charge_in_steps() -> None:
    members = Members("me", heartbeat=10.0)
    assert members.candidate("a") is None
    members.receive(
        Presence("a", 1, capabilities=("pump",), position=Place("hall"), capacity=3, battery=59), 0.0
    )
    assert members.candidate("a") == Candidate("a", ("pump",), Place("hall"), 3, 40, 1000)
    members.changes()
    assert not members.changed
    members.end("a", 1, 1.0)
    assert members.candidate("a") is None
    assert members.changes() == {"a"}


def test_a_word_said_again_does_not_keep_the_dead_here() -> None:
    members = Members("me", heartbeat=10.0)
    word = Presence("ghost", 1, seq=4)
    members.receive(word, now=0.0)
    members.receive(word, now=14.0)
    assert members.expire(15.1) == ["ghost"]


def test_only_what_coalitions_depend_on_is_a_change() -> None:
    members = Members("me", heartbeat=10.0)
    members.receive(Presence("a", 1, seq=1, battery=99), now=0.0)
    assert members.changes() == {"a"}
    members.receive(Presence("a", 1, seq=2, battery=81, holds=(b"12345678",)), now=1.0)
    assert members.changes() == set()
    members.receive(Presence("a", 1, seq=3, battery=79), now=2.0)
    assert members.changes() == {"a"}
    members.receive(Presence("b", 1, accounts=(("a", 0, 9),)), now=3.0)
    assert members.changes() == {"a", "b"}
