"""A real daemon is configured by its hub: kept, refused whole, rolled back, also over a power cut."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edge_agent.cli import main as agent
from edge_agent.wire import documents
from tests.broker.conftest import until
from tests.broker.ending import end_all
from tests.broker.lab import Lab, wait_for
from tests.broker.test_hostile_hub import TOPICS, Hub

pytestmark = pytest.mark.broker
GATES = {"shadow_seconds": 1, "trial_seconds": 1, "steps": 15, "missed_rate": 1}
SLOWER = {"device": {"telemetry_s": 2.0}, "population": {"rooms": {"rate_hz": 5}}}


class Director(Hub):
    """The hub, which sets configurations."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.version = int(time.time() * 1000)

    def configure(self, values: dict[str, Any], **gates: float) -> None:
        self.version += 1
        now = time.time()
        document = {"fleet": "lab", "device": "pi", "version": self.version, "issued": now}
        document |= {"expires": now + 600.0, "configuration": values, "gates": GATES | gates}
        self._say(TOPICS.desired, documents.signed(document, documents.DESIRED, [self.secret]), True)

    def reported(self) -> dict[str, Any]:
        return dict(self.last(TOPICS.reported).get("configuration", {}))

    def in_force(self, values: dict[str, Any]) -> bool:
        return self.reported().get("values") == values

    def ended(self) -> str:
        """Return why the newest configuration was not kept, "" while it is under way or was."""
        progress = self.reported().get("rollout", {})
        return str(progress["reason"]) if progress.get("stage") == "rolled-back" else ""

    def stage(self) -> str:
        return str(self.reported().get("rollout", {}).get("stage", ""))


@pytest.fixture
def lab(tmp_path: Any, mosquitto: Any) -> Iterator[Lab]:
    made = Lab(tmp_path, mosquitto.port)
    yield made
    end_all(made.processes.values())


@pytest.fixture
def hub(lab: Lab, capsys: Any) -> Iterator[Director]:
    made = Director(lab)
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    yield made
    made.close()


def status(lab: Lab, capsys: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert agent(["status", "--socket", str(lab.folder / "pi" / "s"), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def tick_s(lab: Lab, capsys: Any) -> float:
    return float(status(lab, capsys)["populations"]["rooms"]["tick_s"])


def test_a_configuration_is_tried_kept_and_applied_at_the_next_start(
    lab: Lab, hub: Director, capsys: Any
) -> None:
    hub.configure(SLOWER)
    until(lambda: hub.in_force(SLOWER))
    assert hub.stage() == "committed"
    assert tick_s(lab, capsys) == 0.2
    assert "rate_hz = 10" in (lab.folder / "pi" / "device.toml").read_text()  # the file is the user's
    lab.kill("pi")
    words = [sys.executable, "-m", "edge_agent", "check", "--config", str(lab.folder / "pi" / "device.toml")]
    checked = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "set by the hub: population.rooms.rate_hz = 5\n" in checked.stdout
    hub.heard.clear()
    lab.boot("pi")
    until(lambda: hub.in_force(SLOWER))
    assert tick_s(lab, capsys) == 0.2
    hub.configure({})
    until(lambda: "configuration" in hub.last(TOPICS.reported) and hub.in_force({}))
    assert tick_s(lab, capsys) == 0.1


BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"broker": {"host": "evil"}}, "configuration.broker: can't be set by a hub"),
    ({"population": {"rooms": {"bundle": "/x.eab"}}}, "population.rooms.bundle: can't be set by a hub"),
    ({"population": {"halls": {"rate_hz": 1}}}, "halls: found no such population, expected one of rooms"),
    (SLOWER | {"device": {"telemetry_s": 0}}, "configuration: device.telemetry_s: found 0"),
    (SLOWER | {"device": {"telemetry_s": "soon"}}, 'configuration: device.telemetry_s: found "soon"'),
    (
        {"population": {"rooms": {"rate_hz": 1e6}}},
        "population[0].rate_hz: found 1000000.0, expected less than",
    ),
    (
        {"population": {"rooms": {"rate_hz": 5, "observe": {"co3": {"stale_s": 1}}}}},
        "observe.co3: found no observe entry of that modality, expected one of co2",
    ),
)


def test_a_bad_configuration_is_refused_whole(lab: Lab, hub: Director, capsys: Any) -> None:
    for values, reason in BAD:
        hub.configure(values)
        until(lambda reason=reason: reason in hub.ended())  # type: ignore[misc]
        assert "\n" not in hub.ended()
        assert hub.reported()["values"] == {}
    assert tick_s(lab, capsys) == 0.1


def test_a_harmful_configuration_is_rolled_back(lab: Lab, hub: Director, capsys: Any) -> None:
    hub.configure(SLOWER)
    until(lambda: hub.in_force(SLOWER))
    blind = {"population": {"rooms": {"rate_hz": 8, "observe": {"co2": {"stale_s": 0.001}}}}}
    hub.configure(blind, trial_seconds=60)
    until(hub.ended)
    assert hub.ended().startswith("trial: held_rise")
    assert hub.in_force(SLOWER)
    assert tick_s(lab, capsys) == 0.2
    assert "Traceback" not in lab.log("pi")


def test_a_power_cut_in_the_trial_brings_back_what_was_kept(lab: Lab, hub: Director, capsys: Any) -> None:
    for _ in range(2):  # a configuration that takes the board down each time is given up
        if not hub.stage():
            hub.configure(SLOWER, trial_seconds=600)
        until(lambda: hub.stage() == "trial")
        assert tick_s(lab, capsys) == 0.2
        lab.kill("pi")
        hub.heard.clear()
        lab.boot("pi")
        until(lambda: TOPICS.reported in hub.heard)
    until(hub.ended)
    assert "trial" in hub.ended()
    assert hub.in_force({})
    assert tick_s(lab, capsys) == 0.1
