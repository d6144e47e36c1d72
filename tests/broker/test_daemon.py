"""The daemon as a process with a real Mosquitto: a user's commands and their output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import BudgetError, ConfigError
from edge_agent.wire.messages import decode
from edge_agent.wire.topics import DeviceTopics

pytestmark = pytest.mark.broker
ROOT = Path(__file__).parents[2]
Command = Callable[..., subprocess.CompletedProcess[str]]


def test_a_reading_becomes_an_action_and_everything_can_be_asked(device: Any) -> None:
    device.start()
    device.client.publish("z/room-1", b'{"co2": 1500}')
    device.until(lambda: device.said("z/room-1/set")[-1:] == [b'{"fan": "on"}'])
    device.client.publish("z/room-1", b'{"co2": "much"}')
    device.until(lambda: device.status()["populations"]["rooms"]["faults"] == {"not_a_number": 1})
    rooms = device.status()["populations"]["rooms"]
    assert (rooms["agents"], rooms["steps"]) == (3, 1)
    assert 0 < rooms["latency_p50_ms"] <= rooms["latency_p99_ms"]
    records = json.loads(device.command("history", "room-1", "--socket", "s", "--json").stdout)
    assert records["observation"] == [["800.. ppm"]]
    assert records["action"] == [["on"]]
    listed = device.command("agents", "--socket", "s").stdout.splitlines()
    assert len(listed) == 4
    topics = DeviceTopics("lab", "dev")
    device.until(lambda: len(device.said(topics.telemetry)) > 0)
    assert decode(device.said(topics.birth)[0]).body["online"] is True
    assert device.end() == 0
    device.until(lambda: decode(device.said(topics.birth)[-1]).body["online"] is False)


def test_a_killed_daemon_leaves_its_will_and_resumes(device: Any) -> None:
    device.start()
    device.client.publish("z/room-1", b'{"co2": 1500}')
    device.until(lambda: device.said("z/room-1/set")[-1:] == [b'{"fan": "on"}'])
    assert device.end() == 0
    device.start()
    assert device.status()["populations"]["rooms"]["steps"] == 1
    device.kill()
    topics = DeviceTopics("lab", "dev")
    device.until(lambda: decode(device.said(topics.birth)[-1]).body["online"] is False)
    device.start()
    assert device.status()["populations"]["rooms"]["steps"] == 1


def test_check_prints_the_plan_and_refuses_what_does_not_fit(folder: Path, edge_agent: Command) -> None:
    path = folder / "device.toml"
    plan = json.loads(edge_agent(folder, "check", "--config", "device.toml", "--json").stdout)
    assert sum(line["nbytes"] for line in plan["lines"]) == plan["total"] <= plan["budget"]
    path.write_text(path.read_text().replace("size = 3", "size = 1_000_000"))
    refused = edge_agent(folder, "check", "--config", "device.toml", "--json")
    assert refused.returncode == BudgetError.exit_code
    missing = json.loads(refused.stdout)["missing"]
    assert refused.stderr.count("\n") == 1
    assert f"{missing} bytes are missing" in refused.stderr
    assert edge_agent(folder, "run", "--config", "device.toml").returncode == BudgetError.exit_code


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('modality = "co2"', 'modality = "heat"', "population[0].observe[0].modality: "),
        ('control = "fan"', 'control = "lamp"', "population[0].act[0].control: "),
        ("rate_hz = 50", "rate_hz = 900", "population[0].rate_hz: found 900, expected at most 250"),
        ("fan.eab", "none.eab", "none.eab: No such file"),
    ],
)
def test_what_only_the_bundle_knows_is_checked_too(
    old: str, new: str, expected: str, folder: Path, edge_agent: Command
) -> None:
    path = folder / "device.toml"
    path.write_text(path.read_text().replace(old, new))
    refused = edge_agent(folder, "check", "--config", "device.toml")
    assert refused.returncode == ConfigError.exit_code
    assert refused.stderr.count("\n") == 1
    assert expected in refused.stderr


def test_the_daemon_process_is_without_the_libraries_of_others(folder: Path) -> None:
    script = (
        "import sys; from edge_agent.cli import main; main(['check', '--config', 'device.toml', '--json']);"
        "print([m for m in ('pydantic', 'asyncio', 'edge_agent.neural', 'onnxruntime', 'matplotlib', 'rich',"
        "'psutil', 'nacl', '_ssl', '_hashlib', 'http.client', 'email') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("agents", "floor", "ceiling"), [(1000, 36.0, 44.0), (10_000, 40.0, 50.0)])
def test_the_daemon_stays_within_the_memory_that_is_promised(
    agents: int, floor: float, ceiling: float
) -> None:
    """A floor and a ceiling, MB, with 64 ticks of history; what leaves them is to be understood."""
    module = [sys.executable, "-m", "benchmarks.memory", "--json"]
    command = [*module, "--case", f"resident-{agents}", "--seconds", "2.4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rss, history = (json.loads(line) for line in done.stdout.splitlines())
    assert history["value"] >= 64
    assert floor < rss["value"] <= ceiling


def test_the_plan_holds_for_the_process(device: Any) -> None:
    path = device.folder / "device.toml"
    path.write_text(path.read_text().replace("size = 3", "size = 1000"))
    device.start()
    device.drive(7, 1500, "on")
    status = device.status()
    plan = json.loads(device.command("check", "--config", "device.toml", "--json").stdout)
    assert status["rss_bytes"] < plan["total"]
    assert status["arena_used_bytes"] <= status["arena_bytes"]


def test_hundreds_of_populations_come_online(device: Any) -> None:
    """Their names and bundles exceed a will (65,535 bytes), which kept such a device offline for good."""
    text = (device.folder / "device.toml").read_text()
    head, section = text.split("[[population]]", 1)
    section = section.replace("size = 3", "size = 1\nhistory_kb = 1").replace("z/{agent}", "z/{population}")
    many = [f"[[population]]{section}".replace('"rooms"', f'"p{number}"') for number in range(900)]
    head = head.replace('name = "dev"', 'name = "dev"\nmemory_mb = 256')
    (device.folder / "device.toml").write_text(head + "".join(many))
    device.start()

    def convinced() -> bool:
        device.client.publish("z/p899", b'{"co2": 1500}')
        return device.said("z/p899/set")[-1:] == [b'{"fan": "on"}']

    device.until(convinced)
    device.kill()
    topics = DeviceTopics("lab", "dev")
    device.until(lambda: decode(device.said(topics.birth)[-1]).body["online"] is False)


def test_more_populations_than_memory_holds_are_refused(folder: Path, edge_agent: Command) -> None:
    path = folder / "device.toml"
    head, section = path.read_text().split("[[population]]", 1)
    many = [f"[[population]]{section}".replace('"rooms"', f'"p{number}"') for number in range(2000)]
    path.write_text(head + "".join(many))
    refused = edge_agent(folder, "check", "--config", "device.toml", "--json")
    assert refused.returncode == BudgetError.exit_code
    assert "the budget is 67108864: " in refused.stderr
