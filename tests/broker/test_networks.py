"""A daemon with a population of networks: JSON numbers in, actions out, all queries work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.neural.inference import infer
from edge_agent.neural.network import NeuralModel
from edge_convert.cli import main

pytestmark = pytest.mark.broker
NETWORK = Path(__file__).parents[1] / "data" / "networks" / "policy.onnx"
INPUTS = ("co2", "heat", "light", "noise", "people", "hour")
FIELDS = "".join(
    f'[[population.observe]]\nmodality = "{name}"\ntopic = "z/{{agent}}"\npointer = "/{name}"\nwakes = true\n'
    for name in INPUTS
)
CONFIG = """
[device]
name = "dev"
fleet = "lab"
state_dir = "state"
socket = "s"
memory_mb = 96
[recorder]
path = "recording"
[broker]
host = "127.0.0.1"
port = {port}
[[population]]
name = "rooms"
bundle = "policy.eab"
size = 3
agents = "room-{{index}}"
step = "arrival"
rate_hz = 50
tick = "arrival"
{fields}
[[population.act]]
control = "action"
topic = "z/{{agent}}/set"
safe = "off"
"""


def convert(folder: Path, target: str, *options: str) -> Path:
    x = (2 * np.random.default_rng(1).normal(size=(400, 6))).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    made = folder / "policy.eab"
    arguments = ["convert", str(NETWORK), "-o", str(made), "--calibration", str(folder / "x.npz")]
    names = ["--inputs", ",".join(INPUTS), "--actions", "off,low,high,full"]
    assert main([*arguments, "--target", target, "--json", *names, *options]) == 0
    return made


@pytest.mark.parametrize("target", ["litert", "onnxruntime"])
def test_numbers_become_the_networks_action(device: Any, target: str) -> None:
    bundle = convert(device.folder, target)
    (device.folder / "device.toml").write_text(CONFIG.format(port=device.port, fields=FIELDS))
    device.start()
    x = np.array([[1.5, -2.25, 0.5, 3.0, -1.0, 0.25], [-3.0, 1.0, 2.0, -1.5, 0.0, 4.0]], np.float32)
    wanted = [("off", "low", "high", "full")[int(a)] for a in infer(NeuralModel.load(bundle), x)["act"][:, 0]]
    for observed, action in zip(x, wanted, strict=True):
        message = dict(zip(INPUTS, observed.tolist(), strict=True))
        device.client.publish("z/room-1", json.dumps(message))
        device.until(lambda action=action: device.said("z/room-1/set")[-1:] == [action.encode()])
    device.client.publish("z/room-2", b'{"co2": 1.5}')  # five numbers are missing: held safe
    device.until(lambda: device.said("z/room-2/set") == [b"off"])
    rooms = device.status()["populations"]["rooms"]
    assert (rooms["agents"], rooms["steps"]) == (3, 3)
    records = json.loads(device.command("history", "room-1", "--socket", "s", "--json").stdout)
    assert records["modalities"] == list(INPUTS)
    assert records["observation"][0] == ["1.5", "-2.25", "0.5", "3", "-1", "0.25"]
    assert records["action"] == [[action] for action in wanted]
    assert len(device.command("agents", "--socket", "s").stdout.splitlines()) == 4
    plan = json.loads(device.command("check", "--config", "device.toml", "--json").stdout)
    assert device.status()["rss_bytes"] < plan["total"]
    assert device.end() == 0
    replayed = json.loads(device.command("replay", "recording", "--json").stdout)
    assert (replayed["decisions"], replayed["difference"]) == (3, None)
    explained = device.command("replay", "recording", "--explain", "1", "room-1")
    assert explained.returncode == 2
    assert "runs a network" in explained.stderr


def test_an_action_that_is_a_value_is_refused(folder: Path, edge_agent: Any) -> None:
    convert(folder, "litert", "--action", "value", "--min-agreement", "0")
    (folder / "device.toml").write_text(CONFIG.format(port=1883, fields=FIELDS))
    refused = edge_agent(folder, "check", "--config", "device.toml")
    assert refused.returncode == 2
    assert "policy.eab: its action is a value, the daemon expects argmax or sample" in refused.stderr
