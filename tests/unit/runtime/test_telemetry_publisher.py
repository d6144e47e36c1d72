"""Telemetry of a daemon with a manual clock and a broker in memory: numbered, stored, replayed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.errors import PlatformError
from edge_agent.protocol.outbox import Outbox, OutboxSettings
from edge_agent.protocol.telemetry import Telemetry
from edge_agent.runtime.population.drift import DriftWindow
from edge_agent.testing.memory_outbox import MemoryOutboxStore
from edge_agent.wire import bodies
from edge_agent.wire.messages import Message, decode
from edge_agent.wire.topics import DeviceTopics

MakeHouse = Callable[..., Any]
TOPIC = DeviceTopics("home", "dev").telemetry


def reported(store: MemoryOutboxStore) -> Callable[[DaemonBuilder], None]:
    outbox = Outbox(OutboxSettings(flush_seconds=1.0), TOPIC, store)
    return lambda builder: builder.publish_telemetry(Telemetry(10.0), outbox)


@pytest.fixture
def store() -> MemoryOutboxStore:
    return MemoryOutboxStore()


def known(house: Any) -> list[Message]:
    return [decode(payload) for payload in house.sent(TOPIC)]


def test_the_body_follows_the_schema_and_has_numbers_of_its_own(
    make_house: MakeHouse, store: MemoryOutboxStore
) -> None:
    house = make_house(step="rate", rate_hz=1.0, bulk=True, extend=reported(store))
    house.start()
    house.model.contradictions = 4
    house.after(25.0)
    assert len(house.sent(house.topics.bulk_out("rooms"))) == 25
    messages = known(house)
    assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    counters: dict[str, Any] = {}
    for message in messages:
        bodies.check(bodies.TELEMETRY, message.body, TOPIC)
        counters |= message.body["populations"].get("rooms", {})
    assert messages[0].body["rss"] == 123
    assert counters["tick"] == 20
    assert counters["decisions"] == 60
    assert counters["contradictions"] == 4


def test_drift_is_sent_once_it_is_known(make_house: MakeHouse, store: MemoryOutboxStore) -> None:
    house = make_house(step="rate", rate_hz=1.0, extend=reported(store))
    house.start()
    house.after(25.0)
    assert all("drift" not in message.body["populations"].get("rooms", {}) for message in known(house))
    house.group.drift = DriftWindow([[5, 5, 5], []], np.zeros((2, 3), np.uint32))
    house.group.drift.figure = 0.31249
    house.after(11.0)
    assert known(house)[-1].body["populations"]["rooms"]["drift"] == 0.312
    house.say("z/room-0", b'{"co2": 700}')
    house.after(5.0)
    ((_, _, found),) = house.group.drift.modalities()
    assert found == [0, 0, 0]  # the window is open
    (shown,) = house.status.status()["populations"]["rooms"]["drift"]["modalities"]
    assert (shown["modality"], shown["bins"]) == ("co2", ["..600 ppm", "600..1000 ppm", "1000.. ppm"])


def test_an_outage_is_replayed_in_order_and_marked(make_house: MakeHouse, store: MemoryOutboxStore) -> None:
    house = make_house(extend=reported(store))
    house.broker.stop()
    house.start()
    house.after(60.0)
    assert known(house) == []
    assert len(store.entries) >= 5
    house.broker.start()
    house.after(120.0)
    messages = known(house)
    assert sorted(message.seq for message in messages) == list(range(1, len(messages) + 1))
    historical = [message.seq for message in messages if message.body.get("historical")]
    assert historical == sorted(historical)
    assert len(historical) >= 5
    assert not messages[-1].body.get("historical", False)
    assert len(store.entries) <= 1


def test_a_disk_that_cannot_be_read_stops_nothing(
    make_house: MakeHouse, store: MemoryOutboxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house(step="rate", rate_hz=1.0, extend=reported(store))
    house.start()

    def refuse(*_: object) -> None:
        raise PlatformError("outbox.db: disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(store, "read", refuse)
        house.after(30.0)
    assert house.status.status()["populations"]["rooms"]["ticks"] == 30
    assert 1 <= house.status.status()["telemetry"]["unreadable"] <= 31
    house.after(30.0)
    messages = known(house)
    assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    assert len(messages) >= 5
