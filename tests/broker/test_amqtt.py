"""A broker that supports only MQTT 3.1.1 and does not answer a CONNECT of version 5."""

import random
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from edge_agent.adapters.mqtt import MqttSettings, PahoClient
from edge_agent.adapters.system_clock import SystemClock
from edge_agent.protocol.ports import MQTT_311, Publication, Subscription
from edge_agent.protocol.session import Session, SessionSettings
from edge_agent.testing.free_ports import free_port
from tests.support.session_loop import SessionLoop

pytestmark = pytest.mark.broker
BROKER = """
import asyncio, sys
from amqtt.broker import Broker

async def main():
    listener = {"type": "tcp", "bind": "127.0.0.1:" + sys.argv[1]}
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    await Broker({"listeners": {"default": listener}, "plugins": plugins}).start()
    print("listening", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    words = [sys.executable, "-c", BROKER, str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        yield port
        process.kill()


def test_a_3_1_1_broker_is_found_out_and_used(port: int) -> None:
    wake = threading.Event()
    session = Session(
        SessionSettings(backoff_base=0.1, backoff_cap=0.3, connect_timeout=1.0),
        lambda online: Publication("birth", b"%d" % online),
        [Subscription("t")],
        random.Random(0),
    )
    client = PahoClient(MqttSettings("127.0.0.1", "device", port), wake.set)
    pump = SessionLoop(session, client, SystemClock(), wake)
    pump.start()
    pump.until(lambda: session.counters.acked == 1)
    assert session.version == MQTT_311
    pump.publish(Publication("t", b"x"))
    pump.until(lambda: [m.payload for m in pump.messages] == [b"x"] and session.counters.acked == 2)
    pump.stop()
