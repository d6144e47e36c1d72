"""Prometheus metrics of a real daemon, served while it runs and while it is down."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.broker


@pytest.fixture
def scrape(device: Any) -> Iterator[Any]:
    """Return the text that a scrape of ``edge-agent metrics --listen`` gives."""
    command = [sys.executable, "-m", "edge_agent", "metrics", "--listen", "0", "--socket", "s"]
    server = subprocess.Popen(command, cwd=device.folder, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().split()[-1]

    def text() -> str:
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.status == 200
            return answer.read().decode()

    yield text
    server.terminate()
    server.wait()
    server.stdout.close()


def values(text: str) -> dict[str, float]:
    """Return the samples of the text format by name and labels."""
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


def test_metrics_are_served_before_during_and_after_the_daemon(device: Any, scrape: Any) -> None:
    assert values(scrape())["edge_agent_up"] == 0
    device.start()
    device.drive(1, 1500, "on")
    steps = 'edge_agent_steps_total{population="rooms"}'
    device.until(lambda: values(scrape())[steps] == device.status()["populations"]["rooms"]["steps"])
    text, status = scrape(), device.status()
    found = values(text)
    assert found["edge_agent_up"] == found["edge_agent_broker_online"] == 1
    assert found[steps] >= 1
    assert found["edge_agent_memory_budget_bytes"] == status["budget_bytes"]
    assert 0 < found['edge_agent_latency_p50_seconds{population="rooms"}'] < 10
    command = ["promtool", "check", "metrics"]
    checked = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    device.kill()
    found = values(scrape())
    assert found["edge_agent_up"] == 0
    assert not [name for name in found if name.startswith("edge_agent_steps")]  # no figure of the past
    device.start()
    assert values(scrape())["edge_agent_up"] == 1
