import random
import statistics
from unittest.mock import Mock, call

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.protocol.ports import (
    MQTT_5,
    MQTT_311,
    Acked,
    Connected,
    Disconnected,
    MqttClient,
    Publication,
    Received,
    Subscription,
)
from edge_agent.protocol.session import (
    Acknowledge,
    Connect,
    Deliver,
    Delivered,
    Disconnect,
    Offline,
    Online,
    Send,
    Session,
    SessionSettings,
    SessionState,
    Subscribe,
    Unsubscribe,
    carry_out,
)
from edge_agent.testing.broker import Adversary, MemoryBroker
from edge_agent.testing.clock import ManualClock
from tests.support.session_loop import SessionLoop


def birth(online: bool) -> Publication:
    return Publication("birth", {True: b"online", False: b"offline"}[online], retain=True)


def make(seed: int = 0, **fields: float) -> Session:
    return Session(
        SessionSettings(**fields),  # type: ignore[arg-type]
        birth,
        [Subscription("down/#")],
        random.Random(seed),
    )


def online(**fields: float) -> Session:
    session = make(**fields)
    session.start(0.0)
    session.handle(Connected(5), 0.0)
    session.handle(Acked(1), 0.0)  # the birth message
    return session


def sends(effects: list[object]) -> list[bytes]:
    return [e.publication.payload for e in effects if isinstance(e, Send)]


def test_an_attempt_carries_the_will() -> None:
    (effect,) = make().start(0.0)
    assert effect == Connect(Publication("birth", b"offline", retain=True), 5)


def test_every_connect_brings_birth_and_subscriptions() -> None:
    session = make()
    session.start(0.0)
    for _ in range(3):
        effects = session.handle(Connected(5), 0.0)
        assert sends(effects) == [b"online"]  # the one before, not acknowledged, is out of date
        assert Subscribe((Subscription("down/#"),)) in effects
        assert effects[-1] == Online()
        session.handle(Disconnected("cut"), 1.0)
        session.tick(session.deadline or 0.0)
    assert (session.counters.attempts, session.counters.connects, session.counters.resent) == (4, 3, 0)


def test_a_topic_is_asked_for_once_and_given_up_now_and_once_more_after_an_outage() -> None:
    session = online()
    topic = Subscription("z/1", 0)
    for _ in range(3):
        assert session.subscribe(topic) == [Subscribe((topic,))]
    assert session.unsubscribe(["z/1"]) == [Unsubscribe(("z/1",))]
    for expected in (True, False):
        session.handle(Disconnected("cut"), 1.0)
        session.tick(session.deadline or 0.0)
        effects = session.handle(Connected(5, session_present=True), 2.0)
        assert Subscribe((Subscription("down/#"),)) in effects
        assert (Unsubscribe(("z/1",)) in effects) == expected


def test_topics_change_without_a_connection_and_are_made_good_on_the_next() -> None:
    session = online()
    for name in ("z/1", "z/2", "z/3"):
        session.subscribe(Subscription(name, 0))
    assert session.unsubscribe([]) == []
    session.handle(Disconnected("cut"), 1.0)
    assert session.subscribe(Subscription("z/4")) == []
    for name in ("z/1", "z/2", "z/3"):
        assert session.unsubscribe([name]) == []
    assert session.subscribe(Subscription("z/3")) == []
    session.tick(session.deadline or 0.0)
    effects = session.handle(Connected(5, session_present=True), 2.0)
    wanted = (Subscription("down/#"), Subscription("z/4"), Subscription("z/3"))
    assert [e for e in effects if isinstance(e, Subscribe | Unsubscribe)] == [
        Unsubscribe(("z/1", "z/2")),
        Subscribe(wanted),
    ]


def test_the_window_obeys_receive_maximum() -> None:
    session = make(window=20)
    session.start(0.0)
    assert len(sends(session.handle(Connected(5, receive_maximum=3), 0.0))) == 1  # birth
    out = [s for i in range(5) for s in sends(session.publish(Publication("t", b"%d" % i), 0.0)[1])]
    assert out == [b"0", b"1"]
    assert sends(session.handle(Acked(1), 0.0)) == [b"2"]
    assert session.credit == 0


def test_what_was_in_flight_goes_again_in_order_before_what_waits() -> None:
    session = online(window=2)
    for i in range(4):
        session.publish(Publication("t", b"%d" % i), 0.0)
    session.handle(Disconnected("cut"), 1.0)
    session.tick(session.deadline or 0.0)
    effects = session.handle(Connected(5), 2.0)
    seen = sends(effects)
    while effects:
        token = next((e.token for e in effects if isinstance(e, Send)), None)
        if token is None:
            break
        effects = session.handle(Acked(token), 2.0)
        seen += sends(effects)
        if len(seen) > 10:
            break
    assert session.counters.resent == 2
    assert seen[0] == b"online"
    assert [s for s in seen if s != b"online"][:2] == [b"0", b"1"]


def test_a_qos_0_message_is_dropped_offline_and_counted() -> None:
    session = make()
    session.start(0.0)
    message = Publication("t", b"", qos=0)
    for dropped in (1, 2):
        assert session.publish(message, 0.0) == (0, [])
        assert session.counters.dropped == dropped
    session = online()
    credit = session.credit
    token, effects = session.publish(message, 0.0)
    assert token
    assert effects == [Send(message, token)]
    assert (session.credit, session.deadline) == (credit, None)  # nobody acknowledges it


def test_memory_is_bounded_offline() -> None:
    session = make(waiting=10)
    session.start(0.0)
    tokens = [session.publish(Publication("t", b""), 0.0)[0] for _ in range(100)]
    assert sum(t != 0 for t in tokens) == 10
    assert session.counters.dropped == 90


def test_the_message_is_acknowledged_after_it_was_delivered() -> None:
    message = Received("down/command", b"xyz", 1, False, 17)
    session = online()
    for _ in range(2):
        assert session.handle(message, 0.0) == [Deliver(message), Acknowledge(17)]
    assert (session.counters.received, session.counters.bytes_received) == (2, 6)


def test_the_end_of_a_connection_is_said_and_counted_that_of_an_attempt_is_not() -> None:
    session = make()
    session.start(0.0)
    for ends in (1, 2):
        assert session.handle(Disconnected("refused"), 0.0) == []
        session.tick(session.deadline or 0.0)
        session.handle(Connected(5), 0.0)
        assert session.handle(Disconnected("cut"), 0.0) == [Offline("cut")]
        assert session.counters.disconnects == ends
        assert (session.reason, session.credit) == ("cut", 0)
        assert session.version == MQTT_5  # nothing said that it is not spoken
        session.tick(session.deadline or 0.0)


def test_full_jitter_spreads_the_first_retry_over_the_whole_base() -> None:
    delays = []
    for seed in range(1000):
        session = make(seed, backoff_base=10.0)
        session.start(0.0)
        session.handle(Connected(5), 0.0)
        session.handle(Disconnected("broker restarted"), 100.0)
        assert session.deadline is not None
        delays.append(session.deadline - 100.0)
    assert min(delays) < 0.2
    assert max(delays) > 9.8
    # A uniform distribution on [0, 10]: mean 5, standard deviation 10/sqrt(12), its error for n = 1000 0.09.
    assert statistics.mean(delays) == pytest.approx(5.0, abs=0.4)
    assert statistics.stdev(delays) == pytest.approx(10 / 12**0.5, abs=0.3)


def test_backoff_grows_to_the_cap_and_starts_anew_after_a_connection_that_held() -> None:
    session = make(backoff_base=1.0, backoff_cap=60.0)
    session._rng = _Highest()  # type: ignore[assignment]
    session.start(0.0)
    now, waits = 0.0, []
    for _ in range(9):
        session.handle(Disconnected("refused"), now)
        assert session.deadline is not None
        waits.append(session.deadline - now)
        now = session.deadline
        session.tick(now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    session.handle(Connected(5), now)
    session.handle(Disconnected("flapping"), now + 1.0)
    assert session.deadline == now + 61.0
    session.tick(now + 61.0)
    session.handle(Connected(5), now + 61.0)
    session.handle(Disconnected("after a while"), now + 121.0)
    assert session.deadline == now + 122.0


class _Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def test_a_broker_without_mqtt_5_gets_3_1_1() -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock, version=MQTT_311)
    pump = SessionLoop(make(), broker.client("a"), clock)
    pump.start()
    for _ in range(20):
        broker.run()
        pump.run_once()
        clock.advance(1.0)
    assert pump.history == ["online"]
    assert pump.session.version == MQTT_311


def test_silence_ends_an_attempt() -> None:
    session = make(connect_timeout=15.0)
    session.start(0.0)
    assert session.tick(14.9) == []
    session.tick(15.0)
    assert session.state is SessionState.WAITING
    assert session.reason == "no sign of an answer in time"
    assert session.version == MQTT_311  # a broker of that version may not know what to say


def test_a_broker_that_does_not_answer_mqtt_5_gets_3_1_1() -> None:
    session = make(connect_timeout=2.0)
    session.start(0.0)
    session.tick(2.0)
    tried = []
    for _ in range(3):
        (effect,) = session.tick(session.deadline or 0.0)
        assert isinstance(effect, Connect)
        tried.append(effect.version)
        session.tick(session.deadline or 0.0)
    assert tried == [MQTT_311, MQTT_5, MQTT_311]


def test_a_version_that_worked_is_kept_on_a_slow_link_and_doubted_now_and_then() -> None:
    session = online(connect_timeout=2.0)
    now, tried = 1.0, []
    session.handle(Disconnected("cut"), now)
    for _ in range(9):
        now = session.deadline or now
        session.tick(now)  # the next attempt ...
        tried.append(session.version)
        now += 2.0
        session.tick(now)  # ... gets no answer
    assert tried == [5, 5, 5, 5, MQTT_311, 5, 5, 5, MQTT_311]
    now = session.deadline or now
    session.tick(now)
    session.handle(Connected(5), now)  # and what it cannot be is not doubted
    session.handle(Disconnected("cut"), now)
    for _ in range(3):
        session.tick(session.deadline or 0.0)
        session.tick(session.deadline or 0.0)
        assert session.version == MQTT_5


def test_time_runs_from_the_last_acknowledgement_while_something_is_on_its_way() -> None:
    session = online(ack_timeout=60.0)
    assert session.deadline is None
    tokens = [session.publish(Publication("t", b"12"), now)[0] for now in (0.0, 30.0)]
    assert session.deadline == 60.0
    assert session.handle(Acked(99), 40.0) == []
    session.handle(Acked(tokens[0]), 50.0)
    assert session.deadline == 110.0
    session.handle(Acked(tokens[1]), 55.0)
    assert session.deadline is None
    assert session.handle(Acked(tokens[1]), 56.0) == []
    counters = session.counters
    assert (counters.sent, counters.acked, counters.bytes_sent) == (3, 3, len("online" + "12" + "12"))


def test_the_clients_part_is_done_in_order_and_acknowledged_after_the_applications() -> None:
    client = Mock(spec=MqttClient)
    message, topic = Received("t", b""), Subscription("t")
    effects = [
        Connect(birth(False), 5),
        Unsubscribe(("z",)),
        Subscribe((topic,)),
        Send(birth(True), 3),
        Deliver(message),
        Acknowledge(17),
        Disconnect(),
        Online(),
    ]
    left = [(effect, len(client.mock_calls)) for effect in carry_out(effects, client)]
    assert left == [(Deliver(message), 4), (Online(), 6)]
    assert client.mock_calls == [
        call.connect(birth(False), 5),
        call.unsubscribe(("z",)),
        call.subscribe((topic,)),
        call.publish(birth(True), 3),
        call.acknowledge(17),
        call.disconnect(),
    ]


def test_missing_acknowledgements_end_the_connection() -> None:
    session = online(ack_timeout=60.0)
    session.publish(Publication("t", b""), 0.0)
    session.tick(59.0)
    assert session.state is SessionState.ONLINE
    session.tick(60.0)
    assert session.state is SessionState.WAITING
    assert session.counters.timeouts == 1
    assert session.reason == "no sign of an acknowledgement in time"
    assert session.version == MQTT_5  # it spoke it


def test_stopping_says_so_before_it_leaves() -> None:
    session = online()
    effects = session.stop(1.0)
    assert effects == [Send(birth(False), 2), Disconnect()]
    assert session.credit == 0
    assert session.tick(1e9) == []
    assert session.handle(Disconnected("done"), 2.0) == []


def test_a_refused_publication_is_given_up_and_said_so() -> None:
    session = online()
    token, _ = session.publish(Publication("t", b""), 0.0)
    assert session.handle(Acked(token, "not authorized"), 0.0) == [Delivered(token, "not authorized")]
    assert session.counters.refused == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.floats(0, 0.2), count=st.integers(1, 40))
def test_nothing_is_lost_and_first_arrivals_keep_their_order(seed: int, cut: float, count: int) -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock, Adversary(seed=seed, cut=cut, delay=0.5))
    pump = SessionLoop(make(seed, backoff_base=0.5, backoff_cap=2.0, window=5), broker.client("a"), clock)
    pump.start()
    sent: list[int] = []
    for _ in range(20_000):
        broker.run()
        pump.run_once()
        if len(sent) < count and pump.session.credit:
            sent.append(pump.publish(Publication("t", b"%d" % len(sent))))
        if len(sent) == count and set(sent) <= set(pump.delivered):
            break
        clock.advance(0.1)
    assert set(sent) <= set(pump.delivered)
    arrived = [int(p.payload) for p in broker.log if p.topic == "t"]
    assert list(dict.fromkeys(arrived)) == list(range(count))
