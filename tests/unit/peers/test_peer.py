"""The messages of a device, and when a coalition is in force: once every member has confirmed it."""

from __future__ import annotations

from edge_agent.protocol.peers.formation import digest
from edge_agent.protocol.peers.members import PATIENCE
from edge_agent.protocol.peers.objectives import Objective, Role
from edge_agent.protocol.peers.peer import Joined, Left, Peer, PeerSettings
from edge_agent.protocol.ports import Publication
from edge_agent.wire import messages
from edge_agent.wire.presence import Presence, from_body, to_body
from edge_agent.wire.topics import DeviceTopics

UNIX = 1_700_000_000.0
HEAT = Role("heater", "heat", preferences={"temperature": (0.0, 2.0)})
TASK = Objective("warm the hall", (HEAT, Role("eye", "camera")))


def started() -> Peer:
    peer = Peer(DeviceTopics("house", "a"), PeerSettings(heartbeat=10.0), incarnation=5)
    peer.describe({"capabilities": ("heat",), "capacity": 1}, 0.0, UNIX)
    peer.set_objectives([TASK], 0.0, UNIX)
    peer.connected(0.0, UNIX)
    peer.tick(0.3, UNIX)
    return peer


def hear(peer: Peer, word: Presence, now: float) -> list:
    payload = messages.encode(messages.Message(to_body(word), seq=word.seq, t=UNIX + now))
    return peer.presence(word.device, payload, False, now, UNIX + now)


def other(seq: int, **fields: object) -> Presence:
    return Presence("b", 1, seq, capabilities=("camera",), capacity=1, **fields)  # type: ignore[arg-type]


def said(effects: list) -> list[Presence]:
    found = [messages.decode(e.payload) for e in effects if isinstance(e, Publication)]
    return [from_body(message.body, message.seq) for message in found]


def test_a_coalition_counts_once_every_member_has_said_it() -> None:
    peer = started()
    assert hear(peer, other(1), 1.0) == []
    (word,) = said(peer.tick(1.5, UNIX + 1.5))
    assert peer.coalition is not None
    named = digest(peer.coalition)
    assert word.holds == (named,)
    assert peer.confirmed is None
    assert hear(peer, other(2, holds=(b"whatever",)), 2.0) == []
    assert hear(peer, other(3, holds=(named,)), 2.5) == [Joined(peer.coalition, HEAT)]
    before = peer.coalition
    assert hear(peer, other(4, leaving=True), 3.0) == [Left(before)]


def test_a_broker_may_forget_a_device_that_has_been_gone_for_a_week() -> None:
    (publication,) = started().tick(10.0, UNIX)
    assert isinstance(publication, Publication)
    assert (publication.retain, publication.expiry) == (True, 7 * 24 * 3600)


def test_a_presence_message_is_published_once_at_least_with_its_time() -> None:
    peer = started()
    (publication,) = peer.tick(10.0, UNIX + 10.0)
    assert isinstance(publication, Publication)
    assert (publication.topic, publication.qos) == (peer.topics.presence, 1)
    assert messages.decode(publication.payload).t == UNIX + 10.0


def test_what_the_broker_kept_counts_from_when_it_was_said() -> None:
    """A device that is silent for `PATIENCE` heartbeats is gone, however late its word is delivered."""
    payload = messages.encode(messages.Message(to_body(other(1)), seq=1, t=UNIX))
    for retained, here in ((True, False), (False, True)):
        peer = started()
        peer.presence("b", payload, retained, 8.0, UNIX + 8.0)
        assert "b" in peer.members
        peer.tick(PATIENCE * 10.0 + 1.0, UNIX)
        assert ("b" in peer.members) is here


def test_heartbeats_go_out_in_time_and_changes_at_once_but_not_closer_than_the_pause() -> None:
    peer = started()
    assert said(peer.tick(5.0, UNIX)) == []
    assert [word.seq for word in said(peer.tick(10.0, UNIX))] == [2 + 1]
    assert said(peer.describe({"battery": 50}, 10.5, UNIX)) == []
    assert peer.deadline <= 11.0
    assert [word.battery for word in said(peer.tick(11.0, UNIX))] == [50]
    peer.disconnected()
    assert said(peer.tick(40.0, UNIX)) == []


def test_a_goodbye_breaks_no_promise_and_a_silence_does() -> None:
    for ending, accounts in ((lambda p: hear(p, other(9, leaving=True), 3.0), ()), (silence, (("b", 0, 1),))):
        peer = started()
        hear(peer, other(1), 1.0)
        peer.tick(1.5, UNIX + 1.5)
        assert peer.coalition is not None
        hear(peer, other(2, holds=(digest(peer.coalition),)), 2.0)
        ending(peer)
        assert peer.confirmed is None
        assert peer.ledger.accounts == accounts


def silence(peer: Peer) -> None:
    peer.tick(2.0 + 15.1, UNIX + 17.1)


def test_a_term_kept_counts_for_the_fellow() -> None:
    peer = started()
    hear(peer, other(1), 1.0)
    peer.tick(1.5, UNIX + 1.5)
    assert peer.coalition is not None
    for beat in range(2, 13):
        hear(peer, other(beat, holds=(digest(peer.coalition),)), 9.0 * beat)
        peer.tick(9.0 * beat + 0.5, UNIX + 9.0 * beat)
    assert peer.ledger.accounts == (("b", 1, 0),)


def test_a_new_connection_is_a_new_incarnation_and_the_will_of_the_old_one_does_no_harm() -> None:
    peer, witness = started(), started()
    first = peer.will()
    second = peer.will()
    assert second == first + 1 == peer.incarnation
    b = Peer(DeviceTopics("house", "b"), PeerSettings(heartbeat=10.0), incarnation=1)
    old = b.will()
    b.connected(0.0, UNIX)
    b.will()
    (word,) = said(b.connected(1.0, UNIX + 1.0))
    hear(witness, word, 1.0)
    witness.gone("b", old, 1.1, UNIX + 1.1)
    assert "b" in witness.members
    witness.gone("b", word.incarnation, 1.2, UNIX + 1.2)
    assert "b" not in witness.members


def confirmed() -> Peer:
    peer = started()
    hear(peer, other(1), 1.0)
    peer.tick(1.5, UNIX + 1.5)
    assert peer.coalition is not None
    hear(peer, other(2, holds=(digest(peer.coalition),)), 2.0)
    assert peer.confirmed is not None
    return peer


def test_a_will_of_a_life_that_is_over_breaks_no_promise() -> None:
    peer = confirmed()
    before = peer.confirmed
    assert peer.gone("b", 0, 3.0, UNIX + 3.0) == []
    assert (peer.confirmed, peer.ledger.accounts) == (before, ())
    assert before is not None
    assert peer.gone("b", 1, 3.0, UNIX + 3.0) == [Left(before)]
    assert peer.ledger.accounts == (("b", 0, 1),)
    peer.gone("b", 1, 3.5, UNIX + 3.5)
    assert peer.ledger.accounts == (("b", 0, 1),)


def test_a_goodbye_is_said_and_ends_what_the_device_was_part_of() -> None:
    peer = confirmed()
    before = peer.confirmed
    assert before is not None
    effects = peer.leave(3.0, UNIX + 3.0)
    (word,) = said(effects)
    assert word.leaving
    assert effects[-1] == Left(before)
    assert "a" not in peer.members


def test_an_objective_that_is_wanted_no_more_ends_its_coalition() -> None:
    peer = confirmed()
    before = peer.confirmed
    assert before is not None
    peer.set_objectives([], 3.0, UNIX + 3.0)
    effects = peer.tick(3.25, UNIX + 3.25)  # changes are gathered for a quarter of a second
    assert Left(before) in effects
    assert peer.coalition is None
    (word,) = said(effects)
    assert word.holds == ()


def test_changes_are_gathered_before_coalitions_are_formed() -> None:
    peer = started()
    hear(peer, other(1), 1.0)
    peer.tick(1.2, UNIX + 1.2)
    assert peer.coalition is None
    assert peer.deadline <= 1.25
    peer.tick(1.25, UNIX + 1.25)
    assert peer.coalition is not None


def test_a_full_roster_hears_no_new_names() -> None:
    peer = Peer(DeviceTopics("house", "a"), PeerSettings(heartbeat=10.0, devices=2), incarnation=5)
    hear(peer, other(1), 1.0)
    late = Presence("c", 1)
    assert hear(peer, late, 1.0) == []
    assert (len(peer.members), "c" in peer.members) == (2, False)
    hear(peer, other(2, battery=40), 2.0)
    word = peer.members.presence("b")
    assert word is not None
    assert word.battery == 40


def test_our_own_word_coming_back_is_no_news() -> None:
    peer = started()
    (word,) = said(peer.tick(20.0, UNIX + 20.0))
    assert hear(peer, word, 20.1) == []
    assert peer.incarnation == 5
