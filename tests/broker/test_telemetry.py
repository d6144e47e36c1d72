"""The daemon as a process and the hub: the output of `edge-hub watch`, and telemetry through outages."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edge_agent import __version__
from edge_hub.archive import Archive
from edge_hub.fleet import Fleet
from tests.broker.ending import end_all

pytestmark = pytest.mark.broker


def row(device: Any) -> dict[str, Any]:
    fleet = Fleet()
    for topic, payload in list(device.heard):
        if "/up/" in topic:
            fleet.handle(topic, payload, time.time())
    assert fleet.rejected.count == 0, fleet.rejected.last
    return fleet.devices["dev"].row() if "dev" in fleet.devices else {}


def test_the_hub_sees_true_figures_and_no_gaps(device: Any) -> None:
    device.start()
    device.drive(1, 1500, "on")
    device.until(lambda: row(device)["decisions"] > 0)
    device.drive(2, 1500, "on")
    steps = device.status()["populations"]["rooms"]["steps"]
    device.until(lambda: row(device)["decisions"] >= steps)
    seen = row(device)
    assert (seen["agents"], seen["populations"], seen["version"]) == (3, ["rooms"], __version__)
    assert seen["profile"] == "generic"
    assert seen["rss"] > 10_000_000
    assert (seen["gaps"], seen["duplicates"]) == (0, 0)
    # Home Assistant sees the same, in its own words.
    (announced,) = device.said("homeassistant/device/lab/dev/config")
    topic = json.loads(announced)["state_topic"]
    device.until(lambda: json.loads(device.said(topic)[-1])["populations"]["rooms"]["decisions"] >= steps)


def test_the_last_state_before_an_orderly_stop_says_so(device: Any) -> None:
    topic = "edge/v1/lab/dev/up/state"
    for _ in range(5):
        device.start()
        device.until(lambda: device.said(topic) and json.loads(device.said(topic)[-1])["online"])
        assert device.end() == 0
        device.until(lambda: json.loads(device.said(topic)[-1])["online"] is False)


def ingest(database: Path, port: int, seconds: float) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "edge_hub.cli", "ingest", str(database), "--json", "--for", str(seconds)]
    words += ["--broker", f"127.0.0.1:{port}", "--fleet", "lab"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, text=True)


def stored(database: Path, where: str) -> int:
    if not database.exists():
        return 0
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as file:
        try:
            (count,) = file.execute(f"SELECT count(*) FROM telemetry WHERE {where}").fetchone()
        except sqlite3.OperationalError:  # the table is not there yet
            return 0
    return int(count)


def gaps(database: Path) -> dict[str, Any]:
    archive = Archive(database)
    try:
        (found,) = archive.gaps()
    finally:
        archive.close()
    return found


def test_an_outage_with_a_kill_in_it_loses_nothing(device: Any, mosquitto: Any, tmp_path: Path) -> None:
    path = device.folder / "device.toml"
    path.write_text(path.read_text() + "\n[hub]\nconfirm = true\n")
    database = tmp_path / "telemetry.db"
    hub = ingest(database, mosquitto.port, 1.0)
    assert hub.wait(30) == 0  # its session is known to the broker from now on
    device.start()
    hub = ingest(database, mosquitto.port, 240.0)
    try:
        device.until(lambda: stored(database, "1") > 0)
        mosquitto.stop()
        before = device.status()["telemetry"]["stored"]
        device.until(lambda: device.status()["telemetry"]["stored"] > before + 15)
        device.kill()
        device.start(online=False)
        before = device.status()["telemetry"]["stored"]
        device.until(lambda: device.status()["telemetry"]["stored"] > before)
        mosquitto.start()
        device.until(lambda: stored(database, "historical") > 10, 90.0)
        device.until(lambda: not gaps(database)["gaps"] and stored(database, "NOT historical") > 10, 90.0)
    finally:
        end_all([hub])
    found = gaps(database)
    assert (found["gaps"], found["thinned"], found["first"]) == (0, 0, 1)
    assert found["messages"] == found["last"]


def test_a_damaged_outbox_is_set_aside_and_counted(device: Any) -> None:
    state = device.folder / "state"
    state.mkdir(mode=0o700)
    (state / "outbox.db").write_bytes(b"not a database at all, " * 1000)
    device.start()
    device.drive(1, 1500, "on")
    device.until(lambda: row(device).get("decisions", 0) > 0)
    assert device.status()["telemetry"]["damaged_files"] == 1
    assert (state / "outbox.db.damaged").exists()
    assert json.loads(device.command("status", "--socket", "s", "--json").stdout)["telemetry"]["sent"] > 0
