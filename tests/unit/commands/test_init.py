"""A configuration out of Zigbee2MQTT's list of devices passes ``check``, or one line says why not."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edge_agent.adapters import retained_message
from edge_agent.cli import main
from tests.zigbee2mqtt.model import write_bundle

FAN = {
    "type": "fan",
    "features": [
        {"type": "binary", "property": "fan_state", "access": 7, "value_on": "ON", "value_off": "OFF"},
        {
            "type": "enum",
            "name": "mode",
            "property": "fan_mode",
            "access": 7,
            "values": ["low", "medium", "high", "on"],
        },
    ],
}
RELAY = {
    "type": "switch",
    "features": [
        {"type": "binary", "property": "state", "access": 7, "value_on": "ON", "value_off": "OFF"},
    ],
}
AIR = [
    {"type": "numeric", "property": "co2", "access": 1, "unit": "ppm"},
    {"type": "composite", "property": "schedule", "access": 2, "features": []},
]


def device(name: str, *exposes: Any) -> dict[str, Any]:
    """Return an entry as Zigbee2MQTT 2 publishes it."""
    return {"type": "Router", "friendly_name": name, "definition": {"exposes": list(exposes)}}


DEVICES = [
    {"type": "Coordinator", "friendly_name": "Coordinator", "definition": None},
    device("lab", *AIR),
    device("lab-fan", FAN),
    device("meeting", *AIR),
    device("meeting-fan", FAN),
    device("attic", *AIR),
    device("attic/relay", RELAY),
    device("cellar", *AIR),
    {"type": "EndDevice", "friendly_name": "unknown", "definition": None},
]


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    write_bundle(tmp_path / "office.eab", "ventilation", ["off", "low", "high"], 600.0)

    def run(*options: str, payload: bytes = json.dumps(DEVICES).encode()) -> int:
        monkeypatch.setattr(retained_message, "retained_message", lambda *_: payload)
        target = ["--config", str(tmp_path / "device.toml"), "--bundle", str(tmp_path / "office.eab")]
        return main(["init", "--zigbee2mqtt", "--name", "pi", *target, *options])

    return run


def test_alike_agents_make_a_population(
    init: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init() == 0
    said = capsys.readouterr()
    assert "cellar: no device accepts ventilation, omitted" in said.err
    check = [sys.executable, "-m", "edge_agent", "check", "--config", str(tmp_path / "device.toml")]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    first, second = tomllib.loads((tmp_path / "device.toml").read_text())["population"]
    assert (first["agents"], second["agents"]) == (["lab", "meeting"], ["attic"])
    assert first["observe"][0]["topic"] == "zigbee2mqtt/{agent}"
    assert first["observe"][0]["pointer"] == "/co2"
    (act,) = first["act"]
    assert act["topic"] == "zigbee2mqtt/{agent}-fan/set"
    assert json.loads(act["template"].format(value="low")) == {"fan_mode": "low"}
    (act,) = second["act"]
    assert act["topic"] == "zigbee2mqtt/{agent}/relay/set"
    assert act["values"] == {"off": "OFF", "low": "ON", "high": "ON"}


def test_a_model_without_a_tick_needs_one(
    init: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path / "office.eab", "ventilation", ["off", "low", "high"])
    assert init() == 2
    assert "--tick: missing, expected seconds per tick" in capsys.readouterr().err
    assert init("--tick", "0") == 2
    assert "--tick: found 0, expected 0.001 to 1e+06 seconds" in capsys.readouterr().err
    assert not (tmp_path / "device.toml").exists()
    assert init("--tick", "600") == 0
    for population in tomllib.loads((tmp_path / "device.toml").read_text())["population"]:
        assert population["rate_hz"] * 600 == pytest.approx(1.0)
        assert population["observe"][0]["stale_s"] == 1800.0


def test_a_file_that_is_there_stays_without_force(
    init: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "device.toml").write_text("mine")
    assert init() == 2
    assert "the file exists; --force overwrites it" in capsys.readouterr().err
    assert (tmp_path / "device.toml").read_text() == "mine"
    assert init("--force", "--agent", "lab") == 0
    (only,) = tomllib.loads((tmp_path / "device.toml").read_text())["population"]
    assert only["agents"] == ["lab"]


@pytest.mark.parametrize(
    ("options", "payload", "line"),
    [
        (["--agent", "loft"], None, "--agent loft: found no such device, expected one of lab"),
        (
            ["--agent", "lab-fan"],
            None,
            "--agent lab-fan: found fan_state, fan_mode, expected what the model observes: co2",
        ),
        (
            ["--property", "noise=sound"],
            None,
            "--property noise: found no such modality or control, expected one of co2",
        ),
        (["--property", "noise"], None, "--property: found 'noise', expected NAME=PROPERTY"),
        ([], b"[]", "bridge/devices: none of no devices reports one of co2"),
        ([], b"online", "bridge/devices: found b'online', expected Zigbee2MQTT's list"),
        (["--password-file", "/nowhere"], None, "broker.password_file: /nowhere: No such file"),
    ],
)
def test_what_is_wrong_is_one_line_and_writes_nothing(
    init: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    payload: bytes | None,
    line: str,
) -> None:
    more = {} if payload is None else {"payload": payload}
    assert init(*options, **more) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["office.eab"]
