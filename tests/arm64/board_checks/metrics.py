"""The metrics unit as shipped: its sandbox allows queries of the daemon and scrapes, with the daemon up or
down."""

from __future__ import annotations

import urllib.error
import urllib.request

from board_checks import UNIT, run, wait_until

METRICS = "edge-agent-metrics.service"
ADDRESS = "http://127.0.0.1:9758/metrics"


def _scrape() -> str:
    try:
        with urllib.request.urlopen(ADDRESS, timeout=30) as answer:
            return str(answer.read().decode())
    except urllib.error.URLError:  # not listening yet
        return ""


def served() -> object:
    """Enabled, it serves the running daemon's figures; with the daemon stopped, that it is down."""
    run("systemctl", "enable", "--now", METRICS)
    first = wait_until("metrics of the daemon", lambda: "edge_agent_up 1.0" in _scrape())
    shown = run("systemctl", "show", METRICS, "--property=MemoryCurrent", "--property=MemoryMax").stdout
    steps = [line for line in _scrape().splitlines() if line.startswith("edge_agent_steps_total{")]
    assert steps
    run("systemctl", "stop", UNIT)
    try:
        assert "edge_agent_up 0.0" in _scrape()
    finally:
        run("systemctl", "start", UNIT)
    wait_until("metrics of the daemon again", lambda: "edge_agent_up 1.0" in _scrape())
    run("systemctl", "disable", "--now", METRICS)
    return {"seconds": first, "steps": steps, "unit": shown}
