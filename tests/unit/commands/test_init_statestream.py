"""A configuration out of the topics of Home Assistant's mqtt_statestream passes ``check``, or one line says
why not.

The topics and payloads are those of ``homeassistant/components/mqtt_statestream/__init__.py`` of 2026.2.3.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.adapters import retained_message
from edge_agent.cli import main
from tests.zigbee2mqtt.model import write_bundle

STATES = {
    "ha/sensor/lab_co2/state": "612",
    "ha/sensor/lab_co2/unit_of_measurement": '"ppm"',
    "ha/sensor/lab_co2/friendly_name": '"Lab CO2"',
    "ha/sensor/meeting_co2/state": "unavailable",
    "ha/sensor/oven_co2/state": "0.06",
    "ha/sensor/oven_co2/unit_of_measurement": '"%"',
    "ha/sensor/pi_lab_co2/state": "7",
    "ha/switch/hall_co2/state": "on",
    "ha/sun/sun/state": "above_horizon",
    "ha/sensor/a/b/c/state": "1",
}


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    write_bundle(tmp_path / "office.eab", "ventilation", ["off", "low", "high"], 600.0)

    def run(*options: str, states: dict[str, str] = STATES) -> int:
        payloads = {topic: state.encode() for topic, state in states.items()}
        monkeypatch.setattr(retained_message, "retained_messages", lambda *_: payloads)
        target = ["--config", str(tmp_path / "device.toml"), "--bundle", str(tmp_path / "office.eab")]
        source = ["--homeassistant-statestream", "--base", "ha", "--name", "pi"]
        return main(["init", *source, *target, *options])

    return run


def written(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "device.toml").read_text())


def test_entities_of_a_room_make_an_agent(init: Callable[..., int], tmp_path: Path) -> None:
    assert init() == 0
    config = written(tmp_path)
    (rooms,) = config["population"]
    assert rooms["agents"] == ["lab", "meeting"]  # not in %, not a switch, not our own
    (observe,) = rooms["observe"]
    assert (observe["modality"], observe["topic"]) == ("co2", "ha/sensor/{agent}_co2/state")
    assert [act["topic"] for act in rooms["act"]] == ["edge-agent/{agent}/ventilation"]
    assert config["broker"]["home_assistant"] == "homeassistant"
    assert rooms["home_assistant"]["override_s"] > 0
    check = [sys.executable, "-m", "edge_agent", "check", "--config", str(tmp_path / "device.toml")]
    done = subprocess.run(check, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    assert "home assistant: rooms: 2 of 2 agents, 4 entities, at most 0.4 messages per second" in done.stdout


def test_the_user_names_what_is_called_differently(init: Callable[..., int], tmp_path: Path) -> None:
    states = {"ha/sensor/lab_air_quality_co2_level/state": "612", "ha/sensor/attic_co2/state": "612"}
    assert init("--property", "co2=co2_level", states=states) == 0
    (rooms,) = written(tmp_path)["population"]
    assert rooms["agents"] == ["lab_air_quality"]
    assert rooms["observe"][0]["topic"] == "ha/sensor/{agent}_co2_level/state"


@pytest.mark.parametrize(
    ("options", "states", "line"),
    [
        ((), {"ha/sun/sun/state": "up"}, "ha/#: found 1 entities, expected some whose names end in _co2"),
        (("--agent", "attic"), STATES, "--agent attic: found no entity attic_NAME"),
        (("--property", "x=y"), STATES, "--property x: found no such modality, expected one of co2"),
    ],
)
def test_what_is_not_there_is_one_line_and_no_file(
    init: Callable[..., int],
    tmp_path: Path,
    options: tuple[str, ...],
    states: dict[str, str],
    line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert init(*options, states=states) == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "device.toml").exists()
