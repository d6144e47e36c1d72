"""Peers that lie, flood, replay or change their clock: ignored, counted, shown, and trusted less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.protocol.peers.conduct import Conduct, ConductSettings, Offence
from edge_agent.protocol.peers.members import Members
from edge_agent.protocol.peers.peer import Peer, PeerSettings
from edge_agent.protocol.peers.reputation import Ledger, Reputations, median, score
from edge_agent.wire import messages
from edge_agent.wire.presence import MAX_ACCOUNTS, Presence, to_body
from edge_agent.wire.topics import DeviceTopics

UNIX = 1_700_000_000.0


def payload(word: Presence, t: float = UNIX) -> bytes:
    return messages.encode(messages.Message(to_body(word), seq=word.seq, t=t))


@pytest.fixture
def peer() -> Peer:
    made = Peer(DeviceTopics("house", "me"), PeerSettings(heartbeat=10.0, skew=5.0), incarnation=1)
    made.presence("other", payload(Presence("other", 1, seq=5, capacity=3)), False, 0.0, UNIX)
    return made


@pytest.mark.parametrize(
    ("message", "retained", "offence"),
    [
        (payload(Presence("third", 1)), False, Offence.NAME),
        (b"\xc1 noise", False, Offence.MALFORMED),
        (payload(Presence("other", 1, seq=6, capacity=-1)), False, Offence.MALFORMED),
        (payload(Presence("other", 1, seq=6), t=UNIX + 6.0), False, Offence.CLOCK),
        (payload(Presence("other", 1, seq=6), t=UNIX + 6.0), True, Offence.CLOCK),
        (payload(Presence("other", 1, seq=6), t=UNIX - 6.0), False, Offence.CLOCK),
        (payload(Presence("other", 1, seq=4), t=UNIX - 6.0), False, Offence.REPLAY),
        (payload(Presence("other", 1, seq=5, capacity=3), t=UNIX - 6.0), False, Offence.REPLAY),
    ],
)
def test_a_bad_message_changes_nothing_but_the_count(
    peer: Peer, message: bytes, retained: bool, offence: Offence
) -> None:
    before = peer.members.presence("other")
    assert peer.presence("other", message, retained, 1.0, UNIX) == []
    assert peer.members.presence("other") == before
    assert "third" not in peer.members
    assert peer.conduct.counts == {"other": {offence: 1}}
    assert peer.ledger.accounts == (("other", 0, 1),)


def test_a_duplicate_is_no_offence(peer: Peer) -> None:
    for _ in range(3):
        peer.presence("other", payload(Presence("other", 1, seq=5, capacity=3)), False, 1.0, UNIX)
    peer.presence("other", payload(Presence("other", 1, seq=4)), False, 1.0, UNIX)
    assert peer.conduct.counts == {}
    assert peer.members.presence("other") == Presence("other", 1, seq=5, capacity=3)


def test_a_flood_costs_its_sender_alone(peer: Peer) -> None:
    for seq in range(6, 1006):
        peer.presence("other", payload(Presence("other", 1, seq=seq)), False, 1.0, UNIX)
    ignored = peer.conduct.counts["other"][Offence.FLOOD]
    assert ignored >= 1000 - ConductSettings().burst - 10
    assert peer.ledger.accounts == (("other", 0, 1),)  # one flood, however many messages
    peer.presence("third", payload(Presence("third", 1)), False, 1.0, UNIX)
    assert "third" in peer.members


def test_admission_recovers_with_time() -> None:
    conduct = Conduct(ConductSettings(rate=2.0, burst=3.0), Ledger())
    assert [conduct.admit("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert [conduct.admit("a", 1.0) for _ in range(3)] == [True, True, False]


def test_our_own_word_from_an_earlier_life_makes_us_count_higher() -> None:
    peer = Peer(DeviceTopics("house", "me"), PeerSettings(), incarnation=1)
    peer.connected(0.0, UNIX)
    (publication,) = peer.presence("me", payload(Presence("me", 50, seq=3)), True, 0.0, UNIX)
    said = messages.decode(publication.payload).body
    assert said["incarnation"] == 51


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_promises_kept_raise_a_score_and_broken_ones_lower_it(kept: int, broken: int) -> None:
    assert 0 <= score(kept, broken) <= 1000
    assert score(kept, 0) == 1000
    assert score(0, broken + 1) < 1000
    if kept + broken < 60:
        assert score(kept, broken + 1) < score(kept, broken) or score(kept, broken) == 0
        assert score(kept + 1, broken) >= score(kept, broken)


def test_one_liar_can_lower_nobody_and_two_witnesses_can() -> None:
    reputations = Reputations()
    assert reputations.receive("liar", (("a", 0, 999), ("liar", 9, 0))) == {"a", "liar"}
    assert reputations["a"] == 1000
    reputations.receive("witness", (("a", 0, 10),))
    assert reputations["a"] < 500
    reputations.receive("witness", ())
    assert reputations["a"] == 1000
    assert median([0, 0, 1000, 1000]) == 0


def test_misconduct_seen_by_all_lowers_the_candidate_everywhere() -> None:
    members = Members("me", heartbeat=10.0)
    members.receive(Presence("rogue", 1), 0.0)
    before = members.candidate("rogue")
    for witness in ("a", "b"):
        ledger = Ledger()
        for _ in range(5):
            ledger.spoil("rogue")
        members.receive(Presence(witness, 1, accounts=ledger.accounts), 0.0)
    after = members.candidate("rogue")
    assert before is not None
    assert after is not None
    assert after.reputation < before.reputation == 1000


def test_names_beyond_the_limit_are_counted_together_and_take_no_memory() -> None:
    ledger = Ledger()
    conduct = Conduct(ConductSettings(devices=3), ledger)
    for number in range(100):
        conduct.record_offence(f"n{number}", Offence.MALFORMED, float(number))
    assert len(conduct.counts) == 4
    assert conduct.counts["(others)"] == {Offence.MALFORMED: 97}
    assert len(ledger.accounts) == 3


def test_a_will_of_a_life_whose_clock_was_ahead_makes_us_count_higher(peer: Peer) -> None:
    peer.connected(0.0, UNIX)
    (effect,) = peer.gone("me", peer.incarnation + 7, 1.0, UNIX)
    word = messages.decode(effect.payload).body  # type: ignore[union-attr]
    assert word["incarnation"] == peer.incarnation == 9
    assert peer.gone("me", 3, 1.0, UNIX) == []


def test_more_devices_than_agreed_are_not_looked_at() -> None:
    conduct = Conduct(ConductSettings(devices=2), Ledger())
    assert [conduct.admit(name, 0.0) for name in ("a", "b", "c", "a")] == [True, True, False, True]


def test_offences_of_one_kind_within_a_pause_are_one_broken_promise() -> None:
    ledger = Ledger()
    conduct = Conduct(ConductSettings(pause=10.0), ledger)
    for now in (0.0, 9.9, 10.0, 15.0, 20.0):
        conduct.record_offence("a", Offence.CLOCK, now)
    conduct.record_offence("a", Offence.REPLAY, 20.0)
    assert conduct.counts == {"a": {Offence.CLOCK: 5, Offence.REPLAY: 1}}
    assert ledger.accounts == (("a", 0, 4),)


@pytest.mark.parametrize(
    ("kept", "broken", "worth"),
    [(0, 0, 1000), (0, 1, 666), (0, 2, 500), (8, 4, 500), (32, 32, 238), (3200, 3200, 238), (6400, 0, 1000)],
)
def test_an_account_is_worth_what_the_formula_says(kept: int, broken: int, worth: int) -> None:
    # 1000 (kept + 8) / (kept + 8 + 4 broken), of the last 64 promises
    assert score(kept, broken) == worth


def test_a_reputation_is_the_lower_median_of_three_at_least_in_steps() -> None:
    assert median([]) == median([0]) == 1000
    assert median([0, 0]) == 0
    assert median([0, 490, 1000]) == 450
    assert median([499, 500]) == 500
    assert median([100, 200, 300, 1000]) == 200


def test_the_worst_accounts_are_published_first_and_no_more_than_fit() -> None:
    ledger = Ledger()
    for number in range(MAX_ACCOUNTS + 10):
        ledger.keep(f"good-{number:03d}")
    ledger.spoil("bad")
    ledger.keep("bad")
    ledger.keep("bad")
    accounts = ledger.accounts
    assert len(accounts) == MAX_ACCOUNTS
    assert accounts[:2] == (("bad", 2, 1), ("good-000", 1, 0))


def test_nobody_vouches_for_itself_and_who_left_no_longer_counts() -> None:
    reputations = Reputations()
    for witness in ("w1", "w2"):
        reputations.receive(witness, (("a", 0, 60), ("b", 5, 0)))
    for witness in ("w3", "w4"):
        reputations.receive(witness, (("a", 1, 0),))
    reputations.receive("a", (("a", 60, 0),))
    assert reputations["a"] < 500
    assert reputations["b"] == reputations["nobody"] == 1000
    assert reputations.receive("w1", (("a", 0, 60), ("b", 5, 1))) == {"b"}
    assert reputations.receive("w1", (("a", 0, 60), ("b", 5, 1))) == set()
    assert reputations.receive("w1", ()) == {"a", "b"}
    assert reputations["a"] == 1000
