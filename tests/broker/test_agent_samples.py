"""A daemon that sends series of chosen agents: what a hub reads is what sensors said and Bayes' rule says."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pytest

from edge_agent.wire import bodies
from edge_agent.wire.messages import decode
from tests.support import fan
from tests.support.bayes_filter import BayesFilter

pytestmark = pytest.mark.broker

SERIES = """
[[telemetry]]
population = "rooms"
agents = ["room-1"]
interval_s = 0.1
readings = ["co2"]
beliefs = ["air=bad"]
actions = ["fan"]
figures = ["free_energy"]
[[telemetry.figure]]
name = "battery"
topic = "z/{agent}"
pointer = "/battery"
[[telemetry.figure]]
name = "hours"
path = "hours-{index}"
scale = 0.5
"""
TOPIC = "edge/v1/lab/dev/up/telemetry"


def samples(device: Any) -> Iterator[tuple[str, float, float]]:
    """Yield (name, Unix time, value) of all samples that were heard, as docs/protocol.md has them."""
    for payload in device.said(TOPIC):
        body = decode(payload).body
        bodies.check(bodies.TELEMETRY, body, TOPIC)
        if "samples" not in body:
            continue
        found = body["samples"]
        series = struct.unpack(f"<{len(found['series']) // 2}H", found["series"])
        after = struct.unpack(f"<{len(series)}I", found["dt"])
        values = struct.unpack(f"<{len(series)}f", found["values"])
        for place, dt, value in zip(series, after, values, strict=True):
            yield found["names"][place], found["t0"] + dt / 1e3, value


def newest(device: Any) -> dict[str, float]:
    return {name.removeprefix("rooms/room-1/"): value for name, _, value in samples(device)}


def health(device: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for payload in device.said(TOPIC):
        found |= decode(payload).body.get("health", {})
    return found


def test_series_of_an_agent_are_what_it_read_believes_and_does(device: Any) -> None:
    (device.folder / "device.toml").write_text((device.folder / "device.toml").read_text() + SERIES)
    (device.folder / "hours-1").write_text("2417\n")
    device.start()
    model = fan.model()
    arrays = model.arrays()
    likelihood, transition = np.asarray(arrays.A[0]), np.asarray(arrays.B[0])
    bayes = BayesFilter(transition)
    device.client.publish("z/room-1", b'{"co2": 1500, "battery": 87}')
    device.until(lambda: newest(device).get("action/fan") == 1.0)
    first = likelihood[1] * np.asarray(arrays.D[0])
    belief = first / first.sum()
    device.until(lambda: abs(newest(device)["belief/air=bad"] - belief[1]) < 2e-3)
    assert newest(device)["reading/co2"] == 1500.0
    device.until(lambda: newest(device).get("figure/hours") == 1208.5)
    device.client.publish("z/room-1", b'{"co2": 412.5}')
    device.until(lambda: newest(device)["reading/co2"] == 412.5)
    second = likelihood[0] * bayes.predict(belief, 1)
    device.until(lambda: abs(newest(device)["belief/air=bad"] - second[1] / second.sum()) < 2e-3)
    assert [value for name, _, value in samples(device) if name.endswith("/battery")] == [87.0]  # once
    assert {name.split("/")[1] for name, _, _ in samples(device)} == {"room-1"}
    times = [t for name, t, _ in samples(device) if name.endswith("/co2")]
    assert times == sorted(times)


def test_what_series_cost_is_printed_and_is_what_they_take(device: Any) -> None:
    (device.folder / "device.toml").write_text((device.folder / "device.toml").read_text() + SERIES)
    done = device.command("check", "--config", "device.toml", "--json")
    cost = json.loads(done.stdout)["telemetry"]
    assert cost["series"] == 6
    lines = [line for line in json.loads(done.stdout)["lines"] if line["owner"] == "telemetry"]
    assert sum(line["nbytes"] for line in lines) == cost["memory_bytes"]
    device.start()
    device.client.publish("z/room-1", b'{"co2": 1500}')
    device.until(lambda: sum(name.endswith("/co2") for name, _, _ in samples(device)) >= 20)
    sizes = [
        len(msgpack.packb(found))
        for payload in device.said(TOPIC)
        if (found := decode(payload).body.get("samples")) is not None
    ]
    times = [t for _, t, _ in samples(device)]
    hourly = sum(sizes) / (max(times) - min(times)) * 3600.0
    assert hourly <= 1.3 * cost["bytes_per_hour"]  # the last message belongs to time that is not over
    assert "telemetry: 6 series, at most" in device.command("check", "--config", "device.toml").stdout


def test_health_tells_the_board_and_how_the_run_before_ended(device: Any) -> None:
    device.start()
    device.until(lambda: health(device).get("starts") == 1)
    found = health(device)
    assert found["restart_reason"] == "first"
    assert (found["rung"], found["cause"], found["clock_synchronised"] in (0, 1)) == (0, "", True)
    assert found["disk_free_mb"] > 0
    assert device.end() == 0
    device.start()
    device.until(lambda: (health(device)["starts"], health(device)["restart_reason"]) == (2, "stopped"))
    device.kill()
    device.start()
    device.until(lambda: (health(device)["starts"], health(device)["restart_reason"]) == (3, "killed"))
    # The board itself restarted: its boot has another name.
    device.kill()
    path = device.folder / "state" / "restarts.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": "another"}))
    device.start()
    device.until(lambda: (health(device)["starts"], health(device)["restart_reason"]) == (4, "power"))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('beliefs = ["air=bad"]', 'beliefs = ["air=foul"]'), "telemetry[0].beliefs[0]: factor air of"),
        (('beliefs = ["air=bad"]', 'beliefs = ["sky=bad"]'), "has no factor 'sky', expected one of air"),
        (('readings = ["co2"]', 'readings = ["co"]'), "telemetry[0].readings[0]: "),
        (('actions = ["fan"]', 'actions = ["door"]'), "telemetry[0].actions[0]: "),
        (('agents = ["room-1"]', 'agents = ["room-9"]'), "found 'room-9', expected an agent like 'room-0'"),
    ],
)
def test_a_name_that_the_bundle_does_not_have_is_refused_in_one_line(
    device: Any, change: tuple[str, str], line: str
) -> None:
    text = (device.folder / "device.toml").read_text() + SERIES
    (device.folder / "device.toml").write_text(text.replace(*change))
    done = device.command("check", "--config", "device.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
