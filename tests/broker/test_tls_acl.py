import gc
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.adapters.mqtt import MqttSettings
from edge_agent.adapters.system_clock import SystemClock
from edge_agent.protocol.ports import Publication, Subscription
from edge_agent.protocol.session import Session, SessionSettings, SessionState
from edge_agent.testing.mosquitto import Mosquitto
from edge_hub.cli import main
from tests.support import loop_wake
from tests.support.session_loop import SessionLoop

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("each_client")]
SCRIPT = Path(__file__).parents[2] / "tools" / "mosquitto" / "make_ca.sh"


@pytest.fixture(scope="module")
def ca(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ca")
    subprocess.run([SCRIPT, folder, "127.0.0.1", "pi1", "pi2"], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture
def broker(ca: Path, tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker with the lines of tools/mosquitto, on a port of its own."""
    lines = (ca / "mosquitto.conf").read_text().splitlines()
    broker = Mosquitto(tmp_path, [x for x in lines if not x.startswith(("listener", "persistence", "user"))])
    broker.start()
    yield broker
    broker.stop()


def join(broker: Mosquitto, ca: Path, certificate: str, *filters: str, name: str = "") -> SessionLoop:
    settings = MqttSettings(
        broker.host,
        name or certificate,
        broker.port,
        ca=ca / "ca.crt",
        certificate=ca / f"{certificate}.crt" if certificate else None,
        key=ca / f"{certificate}.key" if certificate else None,
    )
    device = name or certificate
    session = Session(
        SessionSettings(backoff_base=0.1, backoff_cap=0.3),
        lambda online: Publication(f"edge/v1/lab/{device}/up/birth", b"%d" % online, retain=True),
        [Subscription(f) for f in filters],
        random.Random(0),
    )
    client, wake = loop_wake.connect(settings)
    pump = SessionLoop(session, client, SystemClock(), wake)
    pump.start()
    return pump


def online(pump: SessionLoop) -> None:
    pump.until(lambda: pump.session.state is SessionState.ONLINE)


ALLOWED = ["lab/pi1/up/telemetry", "lab/pi1/out/rooms", "lab/peer/pi1/presence"]
FORBIDDEN = [
    "lab/pi2/up/telemetry",
    "lab/pi2/up/birth",
    "lab/pi2/down/command",
    "lab/pi1/down/desired",
    "lab/pi2/in/rooms",
    "lab/peer/pi2/presence",
    "lab/peer/pi2/evidence",
    "lab/peer/pi2/handover",
]


def test_a_device_speaks_for_itself_alone(broker: Mosquitto, ca: Path) -> None:
    hub = join(broker, ca, "hub", "edge/v1/#")
    online(hub)
    device = join(broker, ca, "pi1")
    online(device)
    for name in ("pi2", "pi1"):  # it announces itself to Home Assistant, and nobody else
        device.publish(Publication(f"homeassistant/device/lab/{name}/config", b"x"))
    for topic in [*FORBIDDEN, *ALLOWED]:
        device.publish(Publication(f"edge/v1/{topic}", b"x"))
    hub.until(lambda: any(m.topic.endswith("peer/pi1/presence") for m in hub.messages))
    heard = {m.topic.removeprefix("edge/v1/") for m in hub.messages if m.payload == b"x"}
    assert heard == set(ALLOWED)
    # MQTT 5 tells the sender, and the session counts it.
    device.until(
        lambda: device.session.counters.refused + device.session.counters.acked == len(FORBIDDEN) + 6
    )
    assert device.session.counters.refused == len(FORBIDDEN) + 1
    device.stop()
    hub.stop()


def test_messages_of_all_sizes_arrive_whole_and_in_order_both_ways(broker: Mosquitto, ca: Path) -> None:
    down, up = "edge/v1/lab/pi1/down/command", "edge/v1/lab/pi1/up/telemetry"
    device = join(broker, ca, "pi1", down)
    hub = join(broker, ca, "hub", up)
    for one in (device, hub):
        one.until(lambda one=one: one.session.counters.acked == 1)  # type: ignore[misc]
    sent = [b"%d," % number + bytes(number * number * 7 % 40_000) for number in range(60)]
    for sender, receiver, topic in ((hub, device, down), (device, hub, up)):
        for number, payload in enumerate(sent, 1):
            assert sender.client.send(topic, payload, False)
            if number % 6 == 0:
                sender.client.flush()
                receiver.until(lambda n=number, r=receiver: len(r.messages) == n)  # type: ignore[misc]
        assert [m.payload for m in receiver.messages] == sent
    device.stop()
    hub.stop()


def test_a_device_hears_what_is_meant_for_it_alone(broker: Mosquitto, ca: Path) -> None:
    device = join(broker, ca, "pi1", "edge/v1/#")
    online(device)
    device.until(lambda: device.session.counters.acked == 1)
    hub = join(broker, ca, "hub")
    online(hub)
    topics = ["lab/pi2/down/command", "lab/pi2/down/desired", "lab/pi1/down/command"]
    for topic in topics:
        hub.publish(Publication(f"edge/v1/{topic}", b"x"))
    device.until(lambda: any(m.payload == b"x" for m in device.messages))
    assert [m.topic for m in device.messages if m.payload == b"x"] == ["edge/v1/lab/pi1/down/command"]
    device.stop()
    hub.stop()


def test_a_device_hears_its_peers_come_and_what_they_say(broker: Mosquitto, ca: Path) -> None:
    device = join(broker, ca, "pi1", "edge/v1/lab/+/up/birth", "edge/v1/lab/peer/+/presence")
    online(device)
    peer = join(broker, ca, "pi2")
    online(peer)
    peer.publish(Publication("edge/v1/lab/peer/pi2/presence", b"here", retain=True))
    heard = {("edge/v1/lab/pi2/up/birth", b"1"), ("edge/v1/lab/peer/pi2/presence", b"here")}
    device.until(lambda: heard <= {(m.topic, m.payload) for m in device.messages})
    device.publish(Publication("edge/v1/lab/peer/pi2/presence", b"", retain=True))
    device.until(lambda: device.session.counters.refused == 1)
    device.stop()
    late = join(broker, ca, "pi1", "edge/v1/lab/peer/+/presence")
    late.until(lambda: any(m.payload == b"here" for m in late.messages))
    for pump in (late, peer):
        pump.stop()


def test_a_device_hears_that_home_assistant_has_started(tmp_path: Path) -> None:
    own = tmp_path / "ca"
    subprocess.run([SCRIPT, own, "127.0.0.1", "pi1", "homeassistant"], check=True, stdout=subprocess.DEVNULL)
    acl = (own / "acl").read_text()
    (own / "acl").write_text(
        acl.replace("#user homeassistant", "user homeassistant").replace("#topic", "topic")
    )
    lines = (own / "mosquitto.conf").read_text().splitlines()
    kept = [x for x in lines if not x.startswith(("listener", "persistence", "user"))]
    broker = Mosquitto(tmp_path, kept)
    broker.start()
    device = join(broker, own, "pi1", "homeassistant/status", "homeassistant/#")
    online(device)
    device.until(lambda: device.session.counters.acked == 1)
    other = join(broker, own, "homeassistant", "edge/v1/+/+/up/state")
    other.until(lambda: other.session.counters.acked == 1)
    for topic in ("sensor/secret", "status"):
        other.publish(Publication(f"homeassistant/{topic}", b"online"))
    device.publish(Publication("edge/v1/lab/pi1/up/state", b"{}"))
    device.until(lambda: bool(device.messages))
    assert {m.topic for m in device.messages} == {"homeassistant/status"}
    other.until(lambda: any(m.topic == "edge/v1/lab/pi1/up/state" for m in other.messages))
    for pump in (device, other):
        pump.stop()
    broker.stop()


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_a_certificate_nobody_gets_in(broker: Mosquitto, ca: Path) -> None:
    def connects() -> int:
        pump = join(broker, ca, "", name="pi1")
        pump.until(lambda: pump.session.counters.attempts >= 2)
        pump.stop()
        assert pump.client.close(20.0)
        return pump.session.counters.connects

    assert connects() == 0
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_of_another_ca_is_not_believed(broker: Mosquitto, ca: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run([SCRIPT, other, "127.0.0.1", "pi1"], check=True, stdout=subprocess.DEVNULL)

    def reason() -> str:
        pump = join(broker, other, "pi1")
        pump.until(lambda: pump.session.counters.attempts >= 2)
        pump.stop()
        assert pump.client.close(20.0)
        return pump.session.reason

    assert "the broker's certificate is refused: self-signed certificate in certificate chain" in reason()
    gc.collect()


def test_the_hub_uses_the_same_certificates(broker: Mosquitto, ca: Path, capsys) -> None:
    words = ["devices", "--broker", f"127.0.0.1:{broker.port}", "--wait", "0.2", "--ca", str(ca / "ca.crt")]
    assert main([*words, "--certificate", str(ca / "hub.crt"), "--key", str(ca / "hub.key")]) == 0
    assert main([*words, "--certificate", str(ca / "missing.crt")]) == 2
    assert "missing.crt" in capsys.readouterr().err


def test_the_script_keeps_reserved_names_out(tmp_path: Path) -> None:
    for name in ("peer", "hub", "a/b", "+", ""):
        done = subprocess.run([SCRIPT, tmp_path, "localhost", name], capture_output=True, text=True)
        assert done.returncode == 2
        assert "expected a device name" in done.stderr
