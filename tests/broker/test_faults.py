"""Faults that a fleet must survive, with a real Mosquitto. ``make faults-link`` runs the long forms."""

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from edge_agent.adapters.mqtt import MqttSettings, PahoClient
from edge_agent.adapters.system_clock import SystemClock
from edge_agent.protocol.ports import Publication, Subscription
from edge_agent.protocol.session import Session, SessionSettings, SessionState
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import signatures
from edge_agent.wire.topics import DeviceTopics
from tests.broker.ending import end_all
from tests.broker.noise import BOMBS, payload
from tests.support.lossy_relay import LossyRelay
from tests.support.session_loop import SessionLoop
from tests.support.tunnel import Tunnel, possible

pytestmark = pytest.mark.broker
LONG = os.environ.get("EDGE_AGENT_FAULTS") == "long"
ROUNDS = 50 if LONG else 4
FUZZED = 100_000 if LONG else 1_500
PROCESS = Path(__file__).with_name("device_process.py")
TOPICS = DeviceTopics("lab", "pi")
HEARD = (TOPICS.desired, TOPICS.command, TOPICS.block, TOPICS.confirm)


class Site:
    """A device process, a hub that ingests, and a broker: each can be killed."""

    def __init__(self, broker: Mosquitto, folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self.key = folder / "hub.key"
        self.public = signatures.save(signatures.generate("hub"), self.key)
        self.database = folder / "telemetry.db"
        self.home = folder / "pi"
        self.home.mkdir()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def boot_device(self, address: object = None, within: Sequence[str] = ()) -> None:
        words = [
            str(PROCESS),
            str(address or self.broker.port),
            "pi",
            str(self.home),
            str(self.public),
            "b" * 64,
        ]
        self.processes["device"] = subprocess.Popen([*within, sys.executable, *words])

    def boot_hub(self, within: Sequence[str] = ()) -> None:
        words = ["-m", "edge_hub.cli", "ingest", str(self.database), "--fleet", "lab"]
        words += ["--broker", f"127.0.0.1:{self.broker.port}", "--json"]
        self.processes["hub"] = subprocess.Popen([*within, sys.executable, *words], stdout=subprocess.DEVNULL)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def arrived(self) -> tuple[int, int, int]:
        """Return lowest and highest number that arrived, and how many."""
        return self._ask(
            self.database, "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0), count(*) FROM telemetry"
        )

    def stored(self) -> tuple[int, int]:
        """Return the highest number the device gave, and how many entries it still holds."""
        return self._ask(self.home / "outbox.db", "SELECT last, (SELECT count(*) FROM entries) FROM meta")

    def _ask(self, path: Path, text: str) -> tuple:
        db = sqlite3.connect(path, timeout=30.0)
        try:
            return db.execute(text).fetchone()
        except sqlite3.OperationalError:  # its tables are being made
            return (0, 0, 0)
        finally:
            db.close()


@pytest.fixture
def site(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Site]:
    site = Site(mosquitto, tmp_path)
    yield site
    end_all(site.processes.values())


def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    ticker = threading.Event()
    while not condition():
        assert seconds > 0.0, what
        before = time.monotonic()
        ticker.wait(0.02)  # processes of their own have no clock that a test could turn
        seconds -= min(time.monotonic() - before, 1.0)  # a machine that was stopped meanwhile waits on


def test_broker_and_device_killed_again_and_again_under_traffic_lose_nothing(site: Site) -> None:
    site.boot_hub()
    site.boot_device()
    until(lambda: site.arrived()[2] > 5, "nothing arrives")
    for number in range(ROUNDS):
        before = site.arrived()[1]
        site.broker.kill()
        if number % 2:
            site.kill("device")
        site.broker.start()
        if number % 2:
            site.boot_device()
        until(lambda before=before: site.arrived()[1] > before + 5, f"round {number}: nothing arrives")
    site.broker.stop()
    last = site.stored()[0]
    site.broker.start()
    until(lambda: site.arrived()[1] > last, "the backlog does not arrive")
    until(lambda: site.arrived()[2] == site.arrived()[1], "some is missing")
    assert site.arrived()[0] == 1


def test_a_link_that_loses_30_percent_delivers_everything(site: Site) -> None:
    """2 s there and back in the long form; a tenth of that in the short one."""
    relay = LossyRelay(site.broker.port, delay=1.0 if LONG else 0.1, loss=0.3, seed=5)
    site.boot_hub()
    site.boot_device(relay.port)
    until(lambda: site.arrived()[2] > (300 if LONG else 60), "too little arrives", 600.0)
    site.kill("device")
    relay.close()
    site.boot_device()
    last = site.stored()[0]
    until(lambda: site.arrived()[1] > last and site.arrived()[2] == site.arrived()[1], "some is missing")
    assert site.arrived()[0] == 1


@pytest.mark.skipif(not possible(), reason="network namespaces take root and /dev/net/tun")
def test_a_wire_that_loses_30_percent_of_its_packets_delivers_everything(tmp_path: Path) -> None:
    """2 s there and back in the long form, 0.1 s in the short one."""
    tunnel = Tunnel(delay=1.0 if LONG else 0.05, loss=0.3, seed=5)
    listeners = ["allow_anonymous true", f"listener 1884 {tunnel.address}"]
    site = Site(Mosquitto(tmp_path, listeners, tunnel.far), tmp_path)
    try:
        site.broker.start()
        site.boot_hub(tunnel.far)
        site.boot_device(f"{tunnel.address}:1884", tunnel.near)
        until(lambda: site.arrived()[2] > (120 if LONG else 30), "too little arrives", 900.0)
        site.kill("device")
        site.boot_device(within=tunnel.far)
        last = site.stored()[0]
        until(lambda: site.arrived()[1] > last and site.arrived()[2] == site.arrived()[1], "some is missing")
        assert site.arrived()[0] == 1
        assert tunnel.lost / (tunnel.lost + tunnel.passed) == pytest.approx(0.3, abs=0.1)
    finally:
        end_all(site.processes.values())
        site.broker.stop()
        tunnel.close()


def outsider(broker: Mosquitto) -> SessionLoop:
    wake = threading.Event()
    session = Session(
        SessionSettings(backoff_base=0.1, window=20, waiting=10_000),
        lambda online: Publication("outsider", b""),
        [Subscription(TOPICS.birth)],
        random.Random(0),
    )
    client = PahoClient(MqttSettings(broker.host, "outsider", broker.port), wake.set)
    pump = SessionLoop(session, client, SystemClock(), wake)
    pump.start()
    pump.until(lambda: pump.session.state is SessionState.ONLINE)
    return pump


def test_noise_bombs_and_forgeries_change_nothing_and_crash_nothing(site: Site, capsys) -> None:
    site.boot_device()
    crowd = outsider(site.broker)
    crowd.until(lambda: crowd.messages != [])  # the device is there
    hub = signatures.load_secret(site.key)
    rng = random.Random(20)
    for size in BOMBS:
        for topic in HEARD:
            crowd.publish(Publication(topic, bytes(size), retain=True))
    for _ in range(FUZZED):
        crowd.until(lambda: crowd.session.credit > 0)
        noise = payload(rng, hub, "pi")
        crowd.publish(Publication(rng.choice(HEARD), noise, retain=rng.random() < 0.1))
    crowd.until(lambda: crowd.session.counters.acked >= FUZZED)
    for topic in HEARD:
        crowd.publish(Publication(topic, b"", retain=True))
    from edge_hub.cli import main  # the hub's own command is the proof that the device still has_hub

    words = ["--broker", f"127.0.0.1:{site.broker.port}", "--fleet", "lab", "--json"]
    assert main(["command", "status", *words, "--sign", str(site.key), "--answers", "30"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert site.processes["device"].poll() is None
    assert main(["devices", *words]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["desired_version"] == 0
    assert row["refused"]["reason"]
    crowd.stop()
