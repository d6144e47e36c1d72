"""The client on the loop: attempts that are given up, and a broker that reads slowly."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Iterator

import pytest

from edge_agent.adapters.loop import Loop
from edge_agent.adapters.mqtt import MqttSettings
from edge_agent.adapters.mqtt_loop import LoopMqttClient
from edge_agent.protocol.ports import MQTT_5, MQTT_311, Connected, Disconnected, Event

CONNACK = {MQTT_311: b"\x20\x02\0\0", MQTT_5: b"\x20\x03\0\0\0"}


class Place:
    """A client on a loop, and a broker that this test plays."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.loop = Loop()
        port = self.server.getsockname()[1]
        self.client = LoopMqttClient(MqttSettings("127.0.0.1", "c", port), self.loop)

    def turn(self) -> list[Event]:
        """Run one turn of a main loop."""
        self.client.flush()
        self.loop.wait(self.client.deadline)
        return list(self.client.events())

    def log_in(self, version: int) -> socket.socket:
        """Return the broker's end of a new connection."""
        self.client.connect(None, version)
        broker, _ = self.server.accept()
        broker.sendall(CONNACK[version])
        events: list[Event] = []
        while not events:
            events += self.turn()
        assert events == [Connected(version)]
        assert broker.recv(1000)[:1] == b"\x10"
        return broker

    def close(self) -> None:
        self.client.close(0.0)
        self.server.close()
        self.loop.close()


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


def end_of(connection: socket.socket) -> bytes:
    """Return what comes until the other side hangs up."""
    data = b""
    with connection:
        while piece := connection.recv(1 << 16):
            data += piece
    return data


@pytest.mark.parametrize("handed_over", [False, True])
def test_an_attempt_that_is_given_up_leaves_no_connection(place: Place, handed_over: bool) -> None:
    place.client.connect(None, MQTT_311)
    first, _ = place.server.accept()
    if handed_over:
        place.turn()
        place.client.flush()
    with place.log_in(MQTT_5):
        assert end_of(first)[:1] == (b"\x10" if handed_over else b"")


@pytest.mark.parametrize("accepted", [False, True])
def test_a_disconnect_while_it_connects_leaves_no_connection(place: Place, accepted: bool) -> None:
    place.client.connect(None, MQTT_311)
    if accepted:
        first, _ = place.server.accept()
        place.client.disconnect()
    else:
        place.client.disconnect()
        first, _ = place.server.accept()
    assert place.client.close(20.0)
    assert end_of(first) == b""
    assert place.client.events() == []


def test_an_attempt_that_fails_is_said_once(place: Place) -> None:
    place.server.close()
    place.client.connect(None, MQTT_5)
    events: list[Event] = []
    while not events:
        events += place.turn()
    assert [type(event) for event in events] == [Disconnected]
    assert "refused" in str(events[0])
    assert place.client.events() == []


@pytest.mark.parametrize("version", [MQTT_311, MQTT_5])
def test_a_broker_that_reads_late_gets_everything_that_was_taken(place: Place, version: int) -> None:
    broker = place.log_in(version)
    sent = 0
    while place.client.send("t", b"%06d" % sent + bytes(9000), retain=False):
        place.client.flush()
        sent += 1
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(end_of(broker)))
    reader.start()
    while place.client.deadline != -math.inf and place.client.unsent:
        place.turn()  # waits for ever if nobody watches for room to write
    assert place.client.send("t", b"%06d" % sent + bytes(9000), retain=False)
    assert place.client.close(20.0)
    reader.join()
    data = heard[0]
    length = data.index(b"000001") - data.index(b"000000")
    start = data.index(b"000000")
    assert [int(data[at : at + 6]) for at in range(start, len(data), length)] == list(range(sent + 1))
    assert data.endswith(b"\xe0\0")


def test_a_flood_is_taken_in_turns_and_nothing_of_it_is_lost(place: Place) -> None:
    count = 30_000
    broker = place.log_in(MQTT_311)
    writer = threading.Thread(target=broker.sendall, args=(b"\x30\x03\0\1t" * count,))
    writer.start()
    taken, most = 0, 0
    while taken < count:
        turn = len(place.turn())
        taken, most = taken + turn, max(most, turn)
    writer.join()
    assert taken == count
    assert most <= 1024 * 1024 / 256
    assert place.client.kept_out()["overflow"] == 0
    broker.close()
