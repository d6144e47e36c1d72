"""The fleet simulator against a real broker and a real hub, and what it says of a hub that lost something."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet.devices import Report
from benchmarks.fleet.experiment import Plan, judged
from benchmarks.hub_load import telemetry as message
from edge_hub.database import telemetry
from edge_hub.database.engine import Database
from edge_hub.ingest import decode

pytestmark = pytest.mark.broker
ROOT = Path(__file__).parents[2]
PLAN = Plan(1, 1, 1.0, 0, 1.0, 0.0, 0.0, 0.0)


def fleet(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.fleet", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)


def test_outages_lies_and_bad_bundles_cost_nobody_else_anything() -> None:
    words = ["--devices", "60", "--seconds", "8", "--telemetry-s", "1", "--outages", "0.02"]
    done = fleet(*words, "--lies", "0.2", "--bad", "0.2", "--json")
    found = {(f["case"], f["figure"]): f["value"] for f in map(json.loads, done.stdout.splitlines())}
    assert "Traceback" not in done.stderr, done.stderr
    assert found["fleet", "known"] == 100
    assert found["fleet", "telemetry"] > 60
    assert {name: found["fleet", name] for name in ("lost", "twice", "unconfirmed")} == {
        "lost": 0,
        "twice": 0,
        "unconfirmed": 0,
    }
    assert found["fleet", "outages"] > 0
    assert found["fleet", "lies"] > 0
    assert found["rollout", "without_an_end"] == 0
    assert found["rollout", "devices"] == 60
    assert 0 < found["rollout", "failed"] < 60
    assert (
        found["rollout", "committed"] + found["rollout", "failed"] + found.get(("rollout", "parked"), 0) == 60
    )


def test_a_message_that_the_hub_does_not_have_is_lost(database: Database) -> None:
    def figures() -> dict[str, Any]:
        return {figure.figure: figure for figure in judged(PLAN, report, database)}

    report = Report(devices=1, connects=1, sent=2, outboxes={"d00000": 2})
    numbers, now = telemetry.Numbers(), time.time()
    for number, (lost, holds) in ((1, (1, False)), (2, (0, True))):
        topic, payload = message(0, number, now)
        batch = [decode.telemetry("lab", topic.split("/")[3], payload, now)]
        batch = [row._replace(outbox="outbox-lab-d00000") for row in batch]
        telemetry.store(database, numbers, batch, str)
        assert (figures()["lost"].value, figures()["lost"].holds) == (lost, holds)


def test_a_ray_that_is_missing_is_one_line() -> None:
    done = fleet("--ray", "local", "--devices", "2")
    assert done.returncode == 1
    assert done.stderr == "fleet: ray is not installed; install it with: pip install ray\n"
