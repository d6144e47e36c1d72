"""A real daemon counts one agent on request; contradictions are as the engine counts them for all agents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from edge_agent.cli import main as agent
from tests.broker.ending import end_all
from tests.broker.lab import Lab, last_line, wait_for
from tests.support import fan

pytestmark = pytest.mark.broker


@pytest.fixture
def lab(tmp_path: Any, mosquitto: Any) -> Iterator[Lab]:
    made = Lab(tmp_path, mosquitto.port)
    yield made
    end_all(made.processes.values())


def counted(lab: Lab, capsys: Any, *more: str, code: int = 0) -> dict[str, Any]:
    words = ["--to", "pi1", "--sign", str(lab.key), "--json", "--wait", "0.3", "--answers", "60", *more]
    capsys.readouterr()
    assert lab.hub("command", "counters", *words) == code
    return last_line(capsys)


@pytest.mark.parametrize("always", [False, True])
def test_an_agent_is_counted_as_the_engine_counts_all(lab: Lab, capsys: Any, always: bool) -> None:
    if always:  # 1500 ppm have no chance in this model
        lab.first = lab.bundle("bad", fan.model(fan.NEVER_BAD))
    lab.boot("pi1")
    wait_for(lab, capsys, 1)
    found = counted(lab, capsys, "--argument", 'agent="rooms-1"', "--argument", "seconds=3")["result"]
    assert (found["population"], found["decisions"]) == ("rooms", 0)
    assert 0 < found["steps"] <= 10 * found["seconds"] + 1
    capsys.readouterr()
    assert agent(["status", "--socket", str(lab.folder / "pi1" / "s"), "--json"]) == 0
    population = json.loads(capsys.readouterr().out)["populations"]["rooms"]
    engine = population["contradictions"] / population["steps"]  # which counts those of all agents together
    assert found["contradictions"] / found["steps"] == pytest.approx(engine, abs=0.2)
    assert (engine > 0.5) == always
    assert found["free_energy_max"] >= found["free_energy_mean"] > 0
    assert found["latency_max_ms"] >= found["latency_mean_ms"] > 0


def test_what_is_wrong_with_the_request_is_said_in_one_line(lab: Lab, capsys: Any) -> None:
    lab.boot("pi1")
    wait_for(lab, capsys, 1)
    for more, reason in (
        (('agent="attic"',), "agent: found 'attic', expected one like 'rooms-0'"),
        (('agent="rooms-1"', "seconds=61"), "seconds: found 61, expected 1 to 60"),
    ):
        words = [word for argument in more for word in ("--argument", argument)]
        assert counted(lab, capsys, *words, code=1)["reason"].startswith(reason)
