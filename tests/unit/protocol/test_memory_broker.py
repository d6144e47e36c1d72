import pytest

from edge_agent.protocol.ports import Connected, Disconnected, Publication, Received, Subscription
from edge_agent.testing.broker import Adversary, MemoryBroker, MemoryClient, matches
from edge_agent.testing.clock import ManualClock

WILL = Publication("will", b"gone")


def join(broker: MemoryBroker, name: str, *filters: str, qos: int = 1) -> MemoryClient:
    client = broker.client(name)
    client.connect(WILL, 5)
    client.subscribe([Subscription(f, qos) for f in filters])
    broker.run()
    assert isinstance(client.events()[0], Connected)
    return client


def received(broker: MemoryBroker, client: MemoryClient) -> list[Received]:
    broker.run()
    return [e for e in client.events() if isinstance(e, Received)]


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/+", "a/b/c", False),
        ("a/#", "a", True),  # the specification's own example: "sport/#" takes "sport"
        ("a/#", "a/b/c", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("a/b", "a/b", True),
        ("+", "/a", False),
    ],
)
def test_filters_follow_the_specification(pattern: str, topic: str, expected: bool) -> None:
    assert matches(pattern, topic) is expected


def test_retained_messages_greet_a_new_subscriber() -> None:
    broker = MemoryBroker(ManualClock())
    broker.publish("a/b", b"1", retain=True)
    broker.publish("a/c", b"2", retain=True)
    broker.publish("a/c", b"", retain=True)
    client = broker.client("x")
    client.connect(WILL, 5)
    client.subscribe([Subscription("a/#")])
    assert [(m.topic, m.payload, m.retain) for m in received(broker, client)] == [("a/b", b"1", True)]


def test_a_dead_link_sends_the_will_and_a_goodbye_does_not() -> None:
    broker = MemoryBroker(ManualClock())
    listener = join(broker, "listener", "will")
    join(broker, "dies")
    broker.cut("dies")
    assert [m.payload for m in received(broker, listener)] == [b"gone"]
    join(broker, "leaves").disconnect()
    assert received(broker, listener) == []


def test_qos_1_is_repeated_until_acknowledged_also_across_a_connection() -> None:
    broker = MemoryBroker(ManualClock())
    client = join(broker, "x", "t")
    broker.cut("x")
    broker.publish("t", b"while away")
    client.connect(WILL, 5)
    for _ in range(2):
        (message,) = received(broker, client)
        client.connect(WILL, 5)
    broker.run()
    client.events()
    assert message.acknowledge is not None
    client.acknowledge(message.acknowledge)
    broker.run()
    client.connect(WILL, 5)
    assert received(broker, client) == []


def test_a_broker_that_is_down_refuses() -> None:
    broker = MemoryBroker(ManualClock())
    client = join(broker, "x")
    broker.stop()
    assert [type(e) for e in client.events()] == [Disconnected]
    client.connect(WILL, 5)
    broker.run()
    assert [type(e) for e in client.events()] == [Disconnected]


def test_the_adversary_loses_doubles_delays_and_overtakes_by_its_seed() -> None:
    def play(seed: int) -> list[bytes]:
        clock = ManualClock()
        trouble = Adversary(seed=seed, lose=0.2, double=0.2, delay=5.0, overtake=True)
        broker = MemoryBroker(clock, trouble)
        client = broker.client("x")
        client.connect(WILL, 5)
        client.subscribe([Subscription("t", 0)])
        clock.advance(20.0)
        broker.run()
        client.events()
        for number in range(200):
            broker.publish("t", b"%d" % number, qos=0)
        clock.advance(10.0)
        return [m.payload for m in received(broker, client)]

    out = play(1)
    numbers = [int(p) for p in out]
    assert out == play(1)
    assert out != play(2)
    assert 120 < len(set(numbers)) < 190  # 160 expected, standard deviation 6
    assert len(numbers) > len(set(numbers))
    assert numbers != sorted(numbers)
