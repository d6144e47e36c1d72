"""The demo as a user runs it, and its broker if Mosquitto is not installed."""

import contextlib
import json
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_agent.adapters.mqtt import MqttSettings, PahoClient
from edge_agent.adapters.system_clock import SystemClock
from edge_agent.errors import PlatformError
from edge_agent.protocol.ports import MQTT_311, Publication, Subscription
from edge_agent.protocol.session import Session, SessionSettings
from tests.support.session_loop import SessionLoop

OFFICE = Path(__file__).parents[2] / "examples" / "office"


def test_the_demo_happens_in_every_part(tmp_path: Path) -> None:
    command = [sys.executable, OFFICE / "demo.py", "--json", "--directory", tmp_path / "demo"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ran.stdout, ran.stderr
    summary = json.loads(ran.stdout.splitlines()[-1])
    # Beside other tests ticks are missed, and the killed device is back later (0.69 was seen): `make demo`
    # judges nine in ten.
    failed = set(summary["failed"]) - {"nine decisions in ten arrived"}
    assert not failed, f"{failed}\n{ran.stderr}"
    assert summary["decisions"] > 0.5 * summary["decisions_expected"]
    assert ran.returncode == (1 if summary["failed"] else 0)
    assert summary["agreement"] >= 0.99
    assert [len(summary["coalition"][when]) for when in ("before", "during", "after")] == [3, 2, 3]
    assert max(summary["rss_mb"].values()) < 60.0
    assert summary["scores"]["agents"]["kwh_per_room"] < summary["scores"]["schedule"]["kwh_per_room"] / 4
    silent = summary["faults"]["silent"]
    assert summary["scores"].keys() <= silent.keys()
    assert 0.0 < silent["jump filter"]["week"]["above"]["median"] < 1.0


def test_the_session_falls_back_to_a_broker_that_speaks_3_1_1_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(OFFICE))
    import fleet

    def missing(_: Path) -> None:
        raise PlatformError("mosquitto is not installed")

    monkeypatch.setattr(fleet, "Mosquitto", missing)
    with contextlib.ExitStack() as stack:
        name, port = stack.enter_context(fleet.broker(tmp_path / "broker"))
        assert name == "amqtt"
        wake = threading.Event()
        client = PahoClient(MqttSettings(fleet.HOST, "device", port), wake.set)
        birth = Publication("birth", b"", retain=True)
        session = Session(
            SessionSettings(backoff_base=0.1, connect_timeout=2.0),
            lambda _: birth,
            [Subscription("a")],
            random.Random(1),
        )
        pump = SessionLoop(session, client, SystemClock(), wake)
        pump.start()
        pump.until(lambda: "online" in pump.history)
        assert session.version == MQTT_311
        pump.publish(Publication("a", b"1"))
        pump.until(lambda: bool(pump.messages))
        assert pump.messages[0].payload == b"1"
        pump.stop()
