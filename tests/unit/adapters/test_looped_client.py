"""paho behind buffers: what goes to whom, in which order, within which bounds, and what if paho changes."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from paho.mqtt.client import MQTTMessage

from edge_agent.adapters.looped_client import OUT_BYTES, LoopedClient, replaces_io
from edge_agent.adapters.mqtt_incoming import MqttIncoming
from edge_agent.protocol.ports import MQTT_311, Received
from edge_agent.wire.mqtt_packets import packet, publish_0, text_field
from tests.support import unix_broker

PLENTY = 1 << 20
CONNACK = b"\x20\x02\0\0"


class Link:
    """A client that has logged in at this test."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.ended: list[str] = []
        self.client = LoopedClient(
            MqttIncoming(PLENTY, PLENTY, properties=False), "c", MQTT_311, clean=True, transport="unix"
        )
        self.client.on_message = self._hear
        self.client.on_disconnect = lambda _c, _d, _f, code, _p: self.ended.append(str(code))
        self.broker = unix_broker.accept(self.client)
        self.client.flush()
        assert self.read()[:1] == b"\x10"
        assert self.take(CONNACK) == []

    def _hear(self, _client: object, _data: object, message: MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload))

    def take(self, data: bytes) -> list[Received]:
        """Let the broker send, and the client receive."""
        self.broker.sendall(data)
        self.client.readable = True
        return list(itertools.chain.from_iterable(self.client.receive(PLENTY)))

    def read(self) -> bytes:
        """Return what the broker has got."""
        self.broker.setblocking(False)
        data = b""
        try:
            while piece := self.broker.recv(1 << 20):
                data += piece
        except BlockingIOError:
            pass
        self.broker.setblocking(True)
        return data


@pytest.fixture
def link() -> Iterator[Link]:
    link = Link()
    yield link
    link.client.disconnect()
    link.client.flush()
    link.broker.close()


def test_this_paho_reads_and_writes_through_our_methods() -> None:
    assert replaces_io()


@pytest.mark.parametrize("method", ["_sock_recv", "_sock_send"])
def test_a_paho_that_does_not_is_found_out(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(LoopedClient, method)
    assert not replaces_io()


def test_a_connection_to_a_plain_name_needs_no_codec_of_international_names() -> None:
    program = (
        "import socket, sys\n"
        "from edge_agent.adapters.limited_client import OneConnection\n"
        "with socket.create_server((b'127.0.0.1', 0)) as server:\n"
        "    OneConnection('c', 4, clean=True).connect('localhost', server.getsockname()[1])\n"
        "print('encodings.idna' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_messages_with_qos_0_pass_paho_by_and_all_else_is_its_own(link: Link) -> None:
    qos_1 = packet(0x32, text_field("one") + b"\0\7" + b"b")
    found = link.take(publish_0("zero", b"a", retain=True) + qos_1 + publish_0("zero", b"c", retain=False))
    assert found == [Received("zero", b"a", 0, True), Received("zero", b"c")]
    assert link.heard == [("one", b"b")]


def test_what_is_published_leaves_in_order_and_in_one_piece_whoever_encoded_it(link: Link) -> None:
    assert link.client.send("t", b"1", retain=False)
    link.client.publish("t", b"2", 1)
    assert link.client.send("t", b"3", retain=True)
    assert link.read() == b""
    link.client.flush()
    expected = publish_0("t", b"1", False) + packet(0x32, text_field("t") + b"\0\1" + b"2")
    assert link.read() == expected + publish_0("t", b"3", True)
    assert not link.client.unsent


def test_a_broker_that_does_not_read_gets_no_more_than_the_bound_and_all_of_that_later(link: Link) -> None:
    count = 0
    while link.client.send("t", b"%06d" % count + bytes(10_000), retain=False):
        link.client.flush()
        count += 1
    link.client.publish("t", b"qos 1", 1)
    assert link.client.unsent
    data = b""
    for _ in range(10_000):
        data += link.read()
        link.client.flush()
        if not link.client.unsent:
            break
    data += link.read()
    one = publish_0("t", b"%06d" % 0 + bytes(10_000), retain=False)
    assert count * len(one) > OUT_BYTES
    numbers = [int(data[at + 6 : at + 12]) for at in range(0, count * len(one), len(one))]
    assert numbers == list(range(count))
    assert data[count * len(one) :] == packet(0x32, text_field("t") + b"\0\1" + b"qos 1")


def test_the_goodbye_leaves_after_what_was_published(link: Link) -> None:
    link.client.send("t", b"last", retain=False)
    link.client.disconnect()
    assert link.ended == []
    link.client.flush()
    assert link.read() == publish_0("t", b"last", False) + b"\xe0\x00"
    assert link.ended == ["Normal disconnection"]


@pytest.mark.parametrize("data", [b"\x30\xff\xff\xff\x7f\0\1t", b"\x30\2\0\5"])
def test_what_must_not_be_read_ends_the_connection_after_what_came_before(link: Link, data: bytes) -> None:
    found = link.take(publish_0("t", b"before", False) + data)
    found += link.client.receive(PLENTY)
    assert found == [Received("t", b"before")]
    assert len(link.ended) == 1
    assert link.client.trouble is not None
    assert (link.client.refused is not None) is data.startswith(b"\x30\xff")


def test_a_broker_that_hangs_up_is_noticed(link: Link) -> None:
    assert link.take(publish_0("t", b"before", False)) == [Received("t", b"before")]
    link.broker.shutdown(socket.SHUT_RDWR)
    link.client.readable = True
    assert list(link.client.receive(PLENTY)) == []
    assert len(link.ended) == 1
    assert link.client.socket() is None
