"""Sharing with misbehaving peers: their messages are ignored and counted; own messages are small."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.protocol.peers.bayes_fusion import BayesFusion
from edge_agent.protocol.peers.conduct import Conduct, ConductSettings, Offence
from edge_agent.protocol.peers.evidence_exchange import EvidenceExchange, ExchangeSettings
from edge_agent.protocol.peers.reputation import Ledger
from edge_agent.wire import messages
from edge_agent.wire.evidence import Base, Evidence, HeldTicks, Record, channel_number, from_body, to_body
from edge_agent.wire.topics import DeviceTopics
from tests.support.bayes_filter import BayesFilter

S = 4
UNIX = 1000.0
ROOM = channel_number("room")
SURE = bytes([255, 1, 1, 1])


def make(device: str, **settings: float) -> EvidenceExchange:
    sharing = EvidenceExchange(
        DeviceTopics("house", device),
        ExchangeSettings(**settings),  # type: ignore[arg-type]
        Conduct(ConductSettings(), Ledger()),
    )
    sharing.advance(UNIX)
    sharing.open("room", BayesFusion(BayesFilter(0.8 * np.eye(S) + 0.05), np.full(S, 0.25), 1000), ["a", "b"])
    sharing.advance(UNIX)
    return sharing


def payload(*records: Record, t: float = UNIX) -> bytes:
    return messages.encode(messages.Message(to_body(Evidence(records)), t=t))


@pytest.mark.parametrize(
    ("message", "offence"),
    [
        (b"noise", Offence.MALFORMED),
        (messages.encode(messages.Message({"r": [[ROOM, 0, 1000, b"\x09" * S]]}, t=UNIX)), Offence.MALFORMED),
        (payload(Record(ROOM, 0, 1000, SURE[:-1])), Offence.MALFORMED),
        (payload(Record(ROOM, 0, 1002, SURE)), Offence.CLOCK),
        (payload(Record(ROOM, 0, 1000, SURE), t=UNIX + 60), Offence.CLOCK),
        (payload(Record(ROOM, 0, 1000, SURE), t=UNIX - 60), Offence.REPLAY),
    ],
)
def test_bad_evidence_changes_nothing_but_the_count(message: bytes, offence: Offence) -> None:
    sharing = make("a")
    sharing.receive("b", message, 0.0, UNIX)
    assert sharing._conduct.counts == {"b": {offence: 1}}
    np.testing.assert_allclose(sharing.fusion("room").belief(), 0.25)


def test_one_who_is_no_member_is_not_heard() -> None:
    sharing = make("a")
    sharing.receive("stranger", payload(Record(ROOM, 0, 1000, SURE)), 0.0, UNIX)
    np.testing.assert_allclose(sharing.fusion("room").belief(), 0.25)


def test_nobody_speaks_for_another() -> None:
    sharing = make("a")
    sharing.observe("room", 0, [1.0, 0.5, 0.5, 0.5])
    before = sharing.fusion("room").belief()
    forged = [Record(ROOM, 0, 1000, bytes([255, 255, 1, 1]), author=author) for author in ("a", "third")]
    sharing.receive("b", payload(*forged), 0.0, UNIX)
    assert (sharing.fusion("room").belief() == before).all()


def test_two_stories_about_one_tick_are_an_offence() -> None:
    sharing = make("a")
    sharing.receive("b", payload(Record(ROOM, 0, 1000, SURE)), 0.0, UNIX)
    sharing.receive("b", payload(Record(ROOM, 0, 1000, SURE)), 0.0, UNIX)
    assert sharing._conduct.counts == {}
    sharing.receive("b", payload(Record(ROOM, 0, 1000, bytes([1, 255, 1, 1]))), 0.0, UNIX)
    assert sharing._conduct.counts == {"b": {Offence.CONFLICT: 1}}


def test_the_most_informative_goes_first_and_a_little_may_wait() -> None:
    sharing = make("a", rate=1, worthwhile=0.05)
    sharing.observe("room", 0, [1.0, 0.99, 1.0, 1.0])
    (greeting,) = sharing.flush(UNIX)
    assert from_body(messages.decode(greeting.payload).body).records == ()
    sharing.observe("room", 1, [1.0, 0.01, 0.01, 0.01])
    (publication,) = sharing.flush(UNIX)
    assert [r.agent for r in from_body(messages.decode(publication.payload).body).records] == [1]
    assert sharing.counters.held_back == 1


def test_actions_are_never_held_back() -> None:
    sharing = make("a", worthwhile=9.0)
    sharing.observe("room", 0, np.ones(S), action=2)
    (publication,) = sharing.flush(UNIX)
    (record,) = from_body(messages.decode(publication.payload).body).records
    assert record.action == 2


def test_a_closed_channel_is_silent_and_deaf() -> None:
    sharing = make("a")
    sharing.close("room")
    assert sharing.flush(UNIX) == []
    sharing.receive("b", payload(Record(ROOM, 0, 1000, SURE)), 0.0, UNIX)
    with pytest.raises(KeyError):
        sharing.fusion("room")


def pair(**settings: float) -> tuple[EvidenceExchange, EvidenceExchange]:
    return make("a", **settings), make("b", **settings)


def deliver(sender: EvidenceExchange, hearer: EvidenceExchange, unix: float, lose: bool = False) -> Evidence:
    (publication,) = sender.flush(unix)
    if not lose:
        hearer.receive(sender.topics.device, publication.payload, unix, unix)
    return from_body(messages.decode(publication.payload).body)


def test_what_is_sent_and_never_arrives_is_counted_when_the_window_leaves_it() -> None:
    a, b = pair(retry=1000)
    a.observe("room", 0, [1.0, 0.1, 0.1, 0.1])
    deliver(a, b, UNIX, lose=True)
    for second in range(1, 3):
        for sharing in (a, b):
            sharing.advance(UNIX + second)
        deliver(a, b, UNIX + second)  # the report says that there was something
    assert b.lost() == 0
    for second in range(3, 40):
        for sharing in (a, b):
            sharing.advance(UNIX + second)
    assert (a.lost(), b.lost()) == (0, 1)


def test_what_is_held_back_is_not_announced() -> None:
    a, b = pair(worthwhile=9.0)
    a.observe("room", 0, [1.0, 0.9, 0.9, 0.9])
    (own,) = (h for h in deliver(a, b, UNIX).held_ticks if h.device == "a")
    assert own.bits & 1 == 0
    for second in range(1, 40):
        for sharing in (a, b):
            sharing.advance(UNIX + second)
    assert b.lost() == 0


def test_alone_it_says_nothing_and_in_company_it_asks_for_what_it_missed() -> None:
    a, b = pair()
    a.share_with([])
    b.share_with([])
    for second in range(20):
        for sharing in (a, b):
            sharing.advance(UNIX + second)
        a.observe("room", 0, [1.0, 0.3, 0.3, 0.3])
        assert a.flush(UNIX + second) == []
    for sharing in (a, b):
        sharing.share_with(["a", "b"])
    for second in range(20, 24):
        for sharing in (a, b):
            sharing.advance(UNIX + second)
        deliver(b, a, UNIX + second)
        deliver(a, b, UNIX + second)
    assert a.shared_with("room") == ["a", "b"]
    assert b.counters.received >= 20
    np.testing.assert_allclose(a.fusion("room").belief(), b.fusion("room").belief(), atol=1e-12)


def test_reports_of_many_channels_take_turns_and_every_message_can_be_read() -> None:
    a = make("a")
    names = [f"room-{number}" for number in range(300)]
    for name in names:
        a.open(name, BayesFusion(BayesFilter(0.8 * np.eye(S) + 0.05), np.full(S, 0.25), 1000), ["a", "b"])
    reported: set[int] = set()
    asked: set[int] = set()
    for second in range(1, 4):
        a.advance(UNIX + second)
        (publication,) = a.flush(UNIX + second)
        message = from_body(messages.decode(publication.payload).body)
        reported |= {holding.channel for holding in message.held_ticks}
        asked |= set(message.newcomer)
    assert reported == asked == {channel_number(name) for name in [*names, "room"]}


@pytest.mark.parametrize("states", [2, 64, 1024])
def test_evidence_of_a_factor_takes_64_bytes_above_its_states_at_most(states: int) -> None:
    record = Record(2**32 - 1, 9999, 1_700_000_000, bytes([255] * states), 4)
    whole = messages.encode(messages.Message(to_body(Evidence((record,))), seq=10**6, t=1.7e9))
    assert len(whole) <= 64 + states


@pytest.mark.parametrize("ahead", [-10_000, 0, 10_000])
def test_a_clock_that_is_set_leaves_nothing_to_be_said_of_another_time(ahead: int) -> None:
    a, b = pair()
    a.share_with([])
    for second in range(100):
        a.advance(UNIX + ahead + second)
        a.observe("room", 0, [1.0, 0.3, 0.3, 0.3])
    a.share_with(["a", "b"])
    for second in range(40):
        for sharing in (a, b):
            sharing.advance(UNIX + second)
        b.observe("room", 0, [1.0, 0.3, 0.3, 0.3])
        a.observe("room", 0, [0.2, 1.0, 0.2, 0.2])
        (record,) = deliver(a, b, UNIX + second).records
        assert record.tick == 1000 + second
        deliver(b, a, UNIX + second)
    np.testing.assert_allclose(a.fusion("room").belief(), b.fusion("room").belief(), atol=1e-12)
    assert b.counters.received == 40


def test_a_device_that_starts_anew_gets_back_what_it_said_and_what_all_believed() -> None:
    a, b = pair()
    likelihoods = np.random.default_rng(1).uniform(0.1, 1.0, (30, 2, S))
    for second in range(30):
        if second == 20:  # it opens its channels before its first tick, and is alone until it has met others
            a = EvidenceExchange(a.topics, ExchangeSettings(), Conduct(ConductSettings(), Ledger()))
            a.open("room", BayesFusion(BayesFilter(0.8 * np.eye(S) + 0.05), np.full(S, 0.25), 1020), [])
        for sharing, likelihood in zip((a, b), likelihoods[second], strict=True):
            sharing.advance(UNIX + second)
            sharing.observe("room", 0, likelihood)
        if second == 20:
            a.share_with(["a", "b"])
        deliver(b, a, UNIX + second)
        deliver(a, b, UNIX + second)
    assert [record.tick for record in a.fusion("room").records("a", 0)] == list(range(1006, 1030))
    assert b.counters.returned > 0
    np.testing.assert_allclose(a.fusion("room").belief(), b.fusion("room").belief(), atol=1e-6)


def said(sharing: EvidenceExchange, unix: float) -> Evidence:
    publications = sharing.flush(unix)
    return from_body(messages.decode(publications[0].payload).body) if publications else Evidence()


def test_ticks_are_whole_periods_since_1970() -> None:
    sharing = make("a", period=10.0)
    assert [sharing.tick_of(unix) for unix in (0.0, 9.9, 10.0, 1_000_005.0)] == [0, 0, 1, 100_000]
    assert sharing.advance(2_345.0) == 234
    assert sharing.advance(2_350.0) == 235


def test_a_second_look_in_one_tick_is_no_evidence() -> None:
    sharing = make("a")
    sharing.observe("room", 0, [1.0, 0.1, 0.1, 0.1])
    believed = sharing.fusion("room").belief()
    sharing.observe("room", 0, [0.1, 1.0, 0.1, 0.1])
    assert (sharing.fusion("room").belief() == believed).all()
    assert len(said(sharing, UNIX).records) == 1


def test_what_the_broker_sends_back_to_its_sender_is_not_heard() -> None:
    sharing = make("a")
    sharing.receive("a", payload(Record(ROOM, 0, 1000, SURE)), 0.0, UNIX)
    np.testing.assert_allclose(sharing.fusion("room").belief(), 0.25)
    assert sharing._conduct.counts == {}


def test_a_flood_of_evidence_costs_its_sender_alone() -> None:
    sharing = make("a")
    for _ in range(100):
        sharing.receive("b", payload(), 0.0, UNIX)
    assert sharing._conduct.counts == {"b": {Offence.FLOOD: 20}}


@pytest.mark.parametrize("behind", [-30.0, 0.0, 30.0])
def test_a_clock_as_far_off_as_allowed_is_heard(behind: float) -> None:
    sharing = make("a")
    sharing.receive("b", payload(Record(ROOM, 0, 1000, SURE), t=UNIX + behind), 0.0, UNIX)
    assert sharing._conduct.counts == {}
    assert sharing.counters.received == 1
    assert sharing.fusion("room").belief()[0] > 0.9


def test_no_more_is_said_in_a_tick_than_agreed_and_what_was_saved_up_is_bounded() -> None:
    sharing = make("a", rate=4)
    counts = []
    for second in range(6):
        for _ in range(3):  # looked at more often than a tick passes
            sharing.advance(UNIX + second)
        for agent in range(30):
            sharing.observe("room", agent, [1.0, 0.1, 0.1, 0.1])
        counts.append(len(said(sharing, UNIX + second).records))
    assert counts == [4] * 6
    sharing.share_with(["a"])
    for second in range(6, 20):
        sharing.advance(UNIX + second)
        assert sharing.flush(UNIX + second) == []
    sharing.share_with(["a", "b"])
    assert len(said(sharing, UNIX + 19).records) == 16
    assert sharing.counters.sent == 4 * 6 + 16


def test_what_a_report_shows_missing_is_said_again_until_it_is_there_but_not_too_often() -> None:
    a, b = pair(retry=3)
    a.observe("room", 0, [1.0, 0.1, 0.1, 0.1])
    resent = []
    for second in range(12):
        for sharing in (a, b):
            sharing.advance(UNIX + second)
        deliver(b, a, UNIX + second)
        (publication,) = a.flush(UNIX + second)
        if from_body(messages.decode(publication.payload).body).records:
            resent.append(second)
            if second < 8:
                continue  # lost on the way
        b.receive("a", publication.payload, UNIX + second, UNIX + second)
    assert resent == [0, 3, 6, 9]
    assert (a.counters.sent, a.counters.resent, a.counters.returned) == (1, 3, 0)
    assert (b.counters.received, b.counters.known) == (1, 0)
    (record,) = a.fusion("room").records("a", 0)
    b.receive("a", payload(record), UNIX + 12, UNIX)
    assert (b.counters.received, b.counters.known) == (1, 1)


def test_what_a_third_says_of_others_is_nobodys_business() -> None:
    a = make("a")
    a.share_with(["a", "b", "c"])
    a.observe("room", 0, [1.0, 0.1, 0.1, 0.1])
    a.flush(UNIX)
    a.receive("c", payload(Record(ROOM, 0, 1000, SURE)), 0.0, UNIX)
    a.advance(UNIX + 5)
    words = Evidence(
        held_ticks=(
            HeldTicks(ROOM, "c", 0, 1005, 0),
            HeldTicks(ROOM, "d", 0, 1005, 2**32 - 1, 32),
            HeldTicks(7, "a", 0, 1005, 0),
        ),
        bases=(Base(7, 990, SURE),),
        newcomer=(7,),
    )
    a.receive("b", messages.encode(messages.Message(to_body(words), t=UNIX + 5)), 5.0, UNIX + 5)
    assert said(a, UNIX + 5).records == ()
    assert said(a, UNIX + 5).bases == ()
    a.advance(UNIX + 60)
    assert a.lost() == 0


def test_reports_go_out_each_tick_while_new_and_then_as_often_as_agreed() -> None:
    a = make("a", report_every=4, new_for=8)
    opened = 1001
    reported, asking = [], []
    for tick in range(opened, opened + 21):
        a.advance(float(tick))
        word = said(a, float(tick))
        reported += [tick - opened] * bool(word.held_ticks)
        asking += [tick - opened] * bool(word.newcomer)
    assert asking == list(range(8))
    assert reported == [*range(8), 11, 15, 19]


def test_a_base_is_given_to_who_asks_and_taken_only_while_new() -> None:
    a, b = pair(retry=3)
    for second in range(30):
        for sharing in (a, b):
            sharing.advance(UNIX + second)
        b.observe("room", 0, [1.0, 0.1, 0.1, 0.1])
        deliver(b, a, UNIX + second)
        deliver(a, b, UNIX + second)
    ask = messages.encode(messages.Message(to_body(Evidence(newcomer=(ROOM,))), t=UNIX + 30))
    given = []
    for second in range(30, 40):
        b.advance(UNIX + second)
        if second < 36:
            b.receive("a", ask, UNIX + 30, UNIX + 30)
        given += [(second, base.tick) for base in said(b, UNIX + second).bases]
    # at once, then not before ``retry`` ticks: from the middle of the window
    assert given == [(30, 1014), (33, 1017), (36, 1020)]
    before = a.fusion("room").base
    words = Evidence(bases=(Base(ROOM, before[0] - 1, SURE),))
    a.receive("b", messages.encode(messages.Message(to_body(words), t=UNIX + 29)), UNIX + 30, UNIX + 29)
    assert a._conduct.counts == {}
    assert a.fusion("room").base[0] == before[0]


def test_no_more_bases_go_out_in_a_tick_than_agreed() -> None:
    a = make("a", rate=3)
    names = [f"room-{number}" for number in range(5)]
    for name in names:
        a.open(name, BayesFusion(BayesFilter(0.8 * np.eye(S) + 0.05), np.full(S, 0.25), 1000), ["a", "b"])
    a.advance(UNIX + 1)
    ask = Evidence(newcomer=tuple(channel_number(name) for name in names))
    a.receive("b", messages.encode(messages.Message(to_body(ask), t=UNIX + 1)), 1.0, UNIX + 1)
    first, second = said(a, UNIX + 1).bases, said(a, UNIX + 1).bases
    assert (len(first), len(second)) == (3, 2)
    assert {base.channel for base in first + second} == set(ask.newcomer)


def test_what_is_held_back_is_counted_over_all_channels() -> None:
    a = make("a", worthwhile=9.0)
    a.open("attic", BayesFusion(BayesFilter(0.8 * np.eye(S) + 0.05), np.full(S, 0.25), 1000), ["a", "b"])
    for name in ("room", "attic"):
        a.observe(name, 0, [1.0, 0.9, 0.9, 0.9])
    a.flush(UNIX)
    assert a.counters.held_back == 2
    for second in range(1, 40):
        a.advance(UNIX + second)
    a.flush(UNIX + 39)
    assert a.counters.held_back == 0


def test_one_who_speaks_for_ever_new_agents_does_not_silence_our_reports() -> None:
    a = make("a")
    for name in ("attic", "cellar"):
        a.open(name, BayesFusion(BayesFilter(0.8 * np.eye(S) + 0.05), np.full(S, 0.25), 1000), ["a", "b"])
    for second in range(6):
        a.advance(UNIX + second)
        noise = [Record(ROOM, 60 * second + agent, 1000 + second, SURE) for agent in range(60)]
        a.receive("b", payload(*noise, t=UNIX + second), float(second), UNIX + second)
    reported = [{holding.channel for holding in said(a, UNIX + 5).held_ticks} for _ in range(4)]
    assert set().union(*reported) == {channel_number(name) for name in ("room", "attic", "cellar")}
    assert all(reported)


def test_who_comes_from_being_alone_asks_for_a_base_and_who_only_changes_company_does_not() -> None:
    a = make("a")
    asking = []
    for second, company in enumerate([["a"]] * 40 + [["a", "b"]] * 30 + [["a", "c"]] * 5):
        a.share_with(company)
        a.advance(UNIX + second)
        asking += [second] * (said(a, UNIX + second).newcomer == (ROOM,))
    assert asking == list(range(40, 40 + 16))


def test_what_is_said_again_counts_with_the_rest() -> None:
    a = make("a", rate=1, retry=3)
    for second in range(6):
        a.advance(UNIX + second)
        a.observe("room", 0, [1.0, 0.1, 0.1, 0.1])
        assert len(said(a, UNIX + second).records) == 1  # and lost
    a.advance(UNIX + 6)
    missing = Evidence(held_ticks=(HeldTicks(ROOM, "a", 0, 1006, 0),))
    a.receive("b", messages.encode(messages.Message(to_body(missing), t=UNIX + 6)), 6.0, UNIX + 6)
    assert [record.tick for record in said(a, UNIX + 6).records] == [1000]  # the oldest first
    assert said(a, UNIX + 6).records == ()
    a.advance(UNIX + 7)
    assert [record.tick for record in said(a, UNIX + 7).records] == [1001]


def test_a_report_tells_of_itself_how_far_back_it_reaches_and_of_others_what_came() -> None:
    a = make("a")
    a.observe("room", 0, [1.0, 0.1, 0.1, 0.1])
    a.receive("b", payload(Record(ROOM, 3, 1000, SURE)), 0.0, UNIX)
    a.flush(UNIX)
    a.advance(UNIX + 2)
    own, others = said(a, UNIX + 2).held_ticks
    window = 2**64 - 2**3  # what was before the first tick is wanted by nobody
    assert own == HeldTicks(ROOM, "a", 0, 1002, window | 0b100, reach=3)
    assert others == HeldTicks(ROOM, "b", 3, 1002, window | 0b100)


def test_to_close_what_is_not_open_changes_nothing() -> None:
    a = make("a")
    a.close("attic")
    assert a.shared_with("room") == ["a", "b"]
