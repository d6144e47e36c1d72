"""Messages that are too long: the connection is closed, counted and logged once; memory stays in budget.

``make faults-daemon`` runs the flood for five minutes at each broker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edge_agent.wire.messages import decode
from edge_agent.wire.topics import DeviceTopics
from tests.broker.brokers import LARGEST, HostileBroker, only_3_1_1, publish_header, serving
from tests.broker.flood import flood, peak_bytes

pytestmark = pytest.mark.broker
LONG = os.environ.get("EDGE_AGENT_FAULTS") == "long"
FLOOD_S = 300.0 if LONG else 5.0
SEED = int(os.environ.get("EDGE_AGENT_SEED", "1"))
HUNDRED_MB = 100_000_000
RECONNECT_S = 90.0


def use_port(device: Any, port: int) -> None:
    path = device.folder / "device.toml"
    path.write_text(path.read_text().replace(f"port = {device.port}", f"port = {port}"))


@contextmanager
def daemon_at(device: Any, port: int) -> Iterator[None]:
    """Run the daemon; at the end its memory was never above its budget."""
    use_port(device, port)
    device.start(online=False)
    yield
    budget = device.status()["budget_bytes"]
    peak = peak_bytes(device.process.pid)
    print(f"peak {peak / 1e6:.1f} MB of {budget / 1e6:.1f}")
    assert peak <= budget
    assert device.end() == 0


def lines(device: Any, words: str) -> list[str]:
    return [line for line in (device.folder / "log").read_text().splitlines() if words in line]


def test_100_mb_on_a_sensor_topic_of_a_3_1_1_broker_end_the_connection(device: Any) -> None:
    with only_3_1_1(device.port) as port, daemon_at(device, port):
        device.drive(1, 1500, "on")  # it is subscribed
        assert device.status()["broker"]["version"] == 4
        device.client.publish("z/room-1", bytes(HUNDRED_MB), 1).wait_for_publish(60.0)
        device.until(lambda: device.status()["broker"]["oversize_disconnects"] >= 1, RECONNECT_S)
        device.until(lambda: device.status()["broker"]["state"] == "online", RECONNECT_S)
        device.drive(1, 300, "off", RECONNECT_S)  # Mosquitto may repeat it once, to the resumed session
        assert "on topic 'z/room-1', expected at most" in device.status()["broker"]["last_reason"]
        assert len(lines(device, "on topic 'z/room-1'")) == 1
        topic = DeviceTopics("lab", "dev").telemetry
        device.until(
            lambda: any(
                decode(payload).body.get("broker", {}).get("oversize_disconnects", 0) >= 1
                for payload in device.said(topic)
            )
        )


def test_a_session_that_repeats_a_message_too_long_is_given_up(device: Any) -> None:
    """The broker repeats a QoS 1 message until it is acknowledged, and this one is never read."""
    with only_3_1_1(device.port) as port, daemon_at(device, port):
        device.drive(1, 1500, "on")
        device.client.publish("homeassistant/status", bytes(HUNDRED_MB), 1).wait_for_publish(60.0)
        device.until(lambda: device.status()["broker"]["oversize_disconnects"] >= 2, RECONNECT_S)
        device.drive(1, 300, "off", RECONNECT_S)
        assert device.status()["broker"]["oversize_disconnects"] == 2


def test_100_mb_over_mqtt_5_are_kept_back_by_the_broker(device: Any) -> None:
    with daemon_at(device, device.port):
        device.drive(1, 1500, "on")
        device.client.publish("z/room-1", bytes(HUNDRED_MB), 1).wait_for_publish(60.0)
        device.drive(1, 300, "off")
        broker = device.status()["broker"]
        assert (broker["version"], broker["disconnects"], broker["oversize_disconnects"]) == (5, 0, 0)


def test_a_retained_message_too_long_is_met_with_back_off_and_said_once(device: Any) -> None:
    device.client.publish("z/room-1", bytes(HUNDRED_MB), 1, retain=True).wait_for_publish(60.0)
    with only_3_1_1(device.port) as port, daemon_at(device, port):
        device.until(lambda: device.status()["broker"]["oversize_disconnects"] >= 3, RECONNECT_S)
        status = device.status()
        assert status["broker"]["attempts"] < 20 + status["uptime_s"]
        assert len(lines(device, "on topic 'z/room-1'")) == 1
        assert len(lines(device, "connected (MQTT")) == 1


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("before", [False, True])
def test_a_hostile_broker_s_256_mb_are_not_read(version: int, before: bool, device: Any) -> None:
    hostile = HostileBroker(version, before, publish_header(b"z/room-2"))
    with serving(hostile.handle) as port, daemon_at(device, port):
        device.until(lambda: device.status()["broker"]["oversize_disconnects"] >= 2, RECONNECT_S)
        assert f"a message of {LARGEST} bytes on topic 'z/room-2'" in device.status()["broker"]["last_reason"]
        assert len(lines(device, "on topic 'z/room-2'")) == 1
        assert hostile.connections <= device.status()["broker"]["attempts"]
        assert hostile.sent < LARGEST  # of the first, which would have been 256 MB


def test_messages_that_wait_for_a_release_are_not_gathered(device: Any) -> None:
    """A client holds QoS 2 messages until PUBREL (MQTT 5.0 section 4.3.3), and nobody asked for any."""
    packet = b"\x34\x80\x80\x08\x00\x01z\x00\x01" + bytes(131072 - 5)
    hostile = HostileBroker(4, False, packet)
    with serving(hostile.handle) as port, daemon_at(device, port):
        device.until(lambda: device.status()["broker"]["oversize_disconnects"] >= 1, RECONNECT_S)
        assert "QoS 2" in device.status()["broker"]["last_reason"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("old", [False, True], ids=["mqtt5", "mqtt3.1.1"])
def test_a_flood_of_all_sizes_leaves_memory_in_budget(old: bool, device: Any) -> None:
    topics = [f"z/room-{number}" for number in range(3)]
    with only_3_1_1(device.port) as relay, daemon_at(device, relay if old else device.port):
        device.drive(0, 1500, "on")
        sent = flood(device.port, topics, FLOOD_S, SEED)
        print(sent, device.status()["broker"])
        # Online says little yet: the last large message may still be on its way, and a back-off follows it.
        device.drive(1, 300, "off", 2 * RECONNECT_S)
        device.drive(1, 1500, "on", RECONNECT_S)
        assert (device.status()["broker"]["oversize_disconnects"] > 0) is old
