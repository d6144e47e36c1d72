import random
from collections.abc import Callable

import pytest
from paho.mqtt import subscribe
from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.adapters.mqtt import MqttSettings, PahoClient
from edge_agent.adapters.system_clock import SystemClock
from edge_agent.protocol.ports import Publication, Subscription
from edge_agent.protocol.session import Session, SessionSettings, SessionState
from edge_agent.testing.mosquitto import Mosquitto
from tests.support import loop_wake
from tests.support.session_loop import SessionLoop

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("each_client")]


def join(broker: Mosquitto, name: str, *filters: str, **fields: object) -> SessionLoop:
    settings = MqttSettings(broker.host, name, broker.port, **fields)  # type: ignore[arg-type]
    client, wake = loop_wake.connect(settings)
    session = Session(
        SessionSettings(backoff_base=0.1, backoff_cap=0.5),
        lambda online: Publication(f"birth/{name}", b"online" if online else b"offline", retain=True),
        [Subscription(f) for f in filters],
        random.Random(name),
    )
    pump = SessionLoop(session, client, SystemClock(), wake)
    pump.start()
    return pump


def payloads(pump: SessionLoop, topic: str) -> list[bytes]:
    return [m.payload for m in pump.messages if m.topic == topic]


def test_birth_retained_messages_and_a_goodbye(mosquitto: Mosquitto) -> None:
    device = join(mosquitto, "device")
    device.until(lambda: device.session.counters.acked == 1)
    hub = join(mosquitto, "hub", "birth/#")
    hub.until(lambda: payloads(hub, "birth/device") == [b"online"])
    device.stop()
    hub.until(lambda: payloads(hub, "birth/device") == [b"online", b"offline"])
    hub.stop()


def test_the_broker_keeps_a_message_as_long_as_it_is_asked_to(mosquitto: Mosquitto) -> None:
    device = join(mosquitto, "device")
    device.until(lambda: device.session.counters.acked == 1)
    said = Publication("t", b"here", retain=True, expiry=100, content_type="text/plain")
    number = device.publish(said)
    device.until(lambda: number in device.delivered)
    device.stop()
    kept = subscribe.simple(
        "t", hostname=mosquitto.host, port=mosquitto.port, protocol=MQTTProtocolVersion.MQTTv5
    )
    properties = kept.properties.json()
    assert 90 <= properties["MessageExpiryInterval"] <= 100
    assert properties["ContentType"] == "text/plain"


def test_acknowledged_traffic_survives_a_broker_that_is_killed_under_it(mosquitto: Mosquitto) -> None:
    hub = join(mosquitto, "hub", "t")
    hub.until(lambda: hub.history == ["online"] and hub.session.counters.acked == 1)
    device = join(mosquitto, "device")
    sent: list[int] = []
    for number in range(300):
        device.until(lambda: device.session.credit > 0)
        sent.append(device.publish(Publication("t", b"%d" % number)))
        if number == 150:
            mosquitto.kill()
            mosquitto.start()
            hub.until(lambda: hub.session.state is SessionState.ONLINE and len(hub.history) >= 3)
    device.until(lambda: set(sent) <= set(device.delivered))
    assert device.history.count("online") == 2
    hub.until(lambda: len(set(payloads(hub, "t"))) >= 150)
    hub.stop()
    device.stop()


def test_closing_waits_until_the_last_message_has_left(mosquitto: Mosquitto) -> None:
    hub = join(mosquitto, "hub", "t", "birth/#")
    hub.until(lambda: hub.session.counters.acked == 1)
    device = join(mosquitto, "device")
    device.until(lambda: device.session.counters.acked == 1)
    for number in range(10):
        device.publish(Publication("t", b"%d" % number, qos=0))
    device.stop()
    assert isinstance(device.client, PahoClient)
    assert device.client.close(10.0)
    hub.until(lambda: payloads(hub, "birth/device")[-1:] == [b"offline"])
    assert len(payloads(hub, "t")) == 10
    hub.stop()


def test_a_broker_that_is_not_there_is_tried_again(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    device = join(mosquitto, "device")
    device.until(lambda: device.session.counters.attempts >= 3)
    assert "refused" in device.session.reason
    mosquitto.start()
    device.until(lambda: device.session.state is SessionState.ONLINE)
    device.stop()


def test_wrong_password_is_named(make_mosquitto: Callable[..., Mosquitto]) -> None:
    device = join(make_mosquitto("allow_anonymous false"), "device", username="a", password="b")
    device.until(lambda: device.session.counters.attempts >= 2)
    assert "ot authori" in device.session.reason
    device.stop()


def test_long_messages_stay_out_and_short_ones_get_in(mosquitto: Mosquitto) -> None:
    device = join(mosquitto, "device", "in", max_payload=1000)
    device.until(lambda: device.session.counters.acked == 1)
    hub = join(mosquitto, "hub")
    hub.until(lambda: hub.session.state is SessionState.ONLINE)
    for size in (3000, 1200, 10):
        hub.publish(Publication("in", bytes(size)))
    hub.until(lambda: len(hub.delivered) == 4)
    device.until(lambda: device.messages != [])
    assert [len(m.payload) for m in device.messages] == [10]
    hub.stop()
    device.stop()


def test_receive_maximum_of_the_broker_is_heard(make_mosquitto: Callable[..., Mosquitto]) -> None:
    device = join(make_mosquitto("allow_anonymous true", "max_inflight_messages 4"), "device")
    device.until(lambda: device.session.counters.acked == 1)
    assert device.session.credit == 4
    device.stop()
