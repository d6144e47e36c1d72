"""A daemon that is sent probabilities and uncertain readings: its beliefs are those of the formula."""

from __future__ import annotations

import json
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from edge_agent.runtime.recording.recorder import frames
from tests.support import fan

pytestmark = pytest.mark.broker
ENTRIES = """
[[population.observe]]
modality = "co2"
topic = "p/{agent}"
probabilities = true
[[population.act]]
"""


def posterior(probabilities: list[float]) -> list[float]:
    """Return softmax(sum over outcomes of p(o) ln A(o | s)); D is even."""
    weights = np.exp(np.array(probabilities) @ np.log(fan.SEEN))
    return [float(weight / weights.sum()) for weight in weights]


def test_a_daemon_takes_uncertain_readings_and_probabilities(device: Any) -> None:
    config = (device.folder / "device.toml").read_text()
    config = config.replace("wakes = true\n", 'wakes = true\nuncertainty = 50\nuncertainty_pointer = "/sd"\n')
    (device.folder / "device.toml").write_text(config.replace("[[population.act]]\n", ENTRIES))
    device.start()
    sent = [
        ("z/room-1", {"co2": 700, "sd": 200}, 1 - NormalDist(700, 200).cdf(800)),
        ("p/room-2", [1, 3], 0.75),
        ("z/room-0", {"co2": 820}, 1 - NormalDist(820, 50).cdf(800)),
    ]
    for count, (topic, message, _) in enumerate(sent, 1):
        device.client.publish(topic, json.dumps(message))
        device.until(lambda count=count: device.status()["populations"]["rooms"]["steps"] == count)
    for count, wrong in enumerate(("[1, 2, 3]", "[1, -1]", "[1,", '{"a": 1}'), 1):
        device.client.publish("p/room-2", wrong)
        faults = {"not_probabilities": count}
        device.until(lambda faults=faults: device.status()["populations"]["rooms"]["faults"] == faults)
    assert device.end() == 0
    assert device.command("replay", "recording").stdout == "3 decisions in 3 steps came out bit for bit\n"
    for tick, (topic, _, bad) in enumerate(sent, 1):
        found = device.command("replay", "recording", "--explain", str(tick), topic[2:], "--json")
        (believed,) = json.loads(found.stdout)["beliefs"].values()
        beliefs = dict(believed)
        assert [beliefs["good"], beliefs["bad"]] == pytest.approx(posterior([1 - bad, bad]), abs=6e-3)


def test_a_recording_of_uncertain_readings_within_ticks_is_repeated_bit_for_bit(device: Any) -> None:
    config = (device.folder / "device.toml").read_text()
    config = config.replace('rate_hz = 50\ntick = "arrival"\n', "rate_hz = 1\n")
    config = config.replace('silence = "unchanged"\n', "uncertainty = 200\n")
    (device.folder / "device.toml").write_text(config)
    device.start()
    for count, co2 in enumerate((700, 900, 1000, 600), 1):
        device.client.publish("z/room-1", json.dumps({"co2": co2}))
        device.until(lambda count=count: device.status()["populations"]["rooms"]["observations"] == count)
    ticks = device.status()["populations"]["rooms"]["ticks"]
    device.until(lambda: device.status()["populations"]["rooms"]["ticks"] > ticks)
    assert device.end() == 0
    kinds = {entry["kind"] for entry in frames((device.folder / "recording").read_bytes()) if "soft" in entry}
    assert {"decide", "step"} <= kinds
    assert device.command("replay", "recording").stdout.endswith(" came out bit for bit\n")


def test_check_names_what_the_bundle_cannot_take(folder: Any, edge_agent: Any) -> None:
    path = folder / "device.toml"
    plain = path.read_text()
    for line, expected in (
        (
            "probabilities = true\nscale = 2.0\n",
            "observe[0].probabilities: found with scale, expected it alone",
        ),
        ('uncertainty_pointer = "sd"\n', "uncertainty_pointer: found 'sd', expected it to begin with '/'"),
        ("uncertainty = 0.0\n", "observe[0].uncertainty: found 0.0, expected greater than 0"),
        (
            "uncertainty = 1.0\nprobabilities = true\n",
            "observe[0].probabilities: found with uncertainty, expected it alone",
        ),
    ):
        path.write_text(plain.replace("wakes = true\n", f"wakes = true\n{line}"))
        done = edge_agent(folder, "check", "--config", "device.toml")
        assert done.returncode == 2
        assert expected in done.stderr
        assert len(done.stderr.splitlines()) == 1
