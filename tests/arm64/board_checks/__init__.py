"""Checks that run on the board itself, as root: standard library alone, one function a check.

A check returns what it saw (a JSON value for the report) and fails by raising. ``python3 -m board_checks``
runs all of them in the order of ``CHECKS``, each in a process of its own, and prints a verdict a line.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "EDGE-CHECK "
"""Begins a line with a verdict on the console."""
UNIT = "edge-agent.service"
CONFIG = Path("/etc/edge-agent/device.toml")
STATE = Path("/var/lib/edge-agent")
DROP_INS = Path("/etc/systemd/system/edge-agent.service.d")
GIVEN = Path("/root/given")
"""What the host put in: packages, bundles, traces, what they must give."""

CHECKS = (
    "install.commands",
    "install.profile",
    "install.two_ticks_per_second",
    "life.ready_without_a_broker",
    "life.acts_when_the_broker_comes",
    "life.memory",
    "decisions.agents",
    "decisions.litert",
    "sandbox.denied",
    "sandbox.allowed",
    "life.killed",
    "life.hung",
    "life.leaking",
    "metrics.served",
    "learning.same_counts",
    "learning.recorded_on_x86_64",
    "learning.daemon",
    "enrolment.joins",
    "profiles.every_profile",
    "life.clock_jumps",
    "life.read_only_root",
    "refusals.config_of_another_user",
    "refusals.broken_config",
    "refusals.damaged_checkpoint",
    "decisions.onnxruntime",
    "update.next_version",
    "update.broken_version",
    "update.unreleased_version",
    "update.back",
    "removal.damaged_package",
    "removal.reinstall",
    "removal.remove",
    "removal.purge",
)


def run(*command: str | Path, check: bool = True, seconds: float = 900) -> subprocess.CompletedProcess[str]:
    """Run a command; with ``check``, a failure shows what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if check and done.returncode != 0:
        why = journal() if command[0] == "systemctl" else ""
        raise AssertionError(f"{command}: exit {done.returncode}: {done.stdout}{done.stderr}{why}")
    return done


def unit(*names: str) -> dict[str, str]:
    """Return properties of the daemon's unit."""
    shown = run("systemctl", "show", UNIT, *(f"--property={name}" for name in names)).stdout
    return dict(line.split("=", 1) for line in shown.splitlines())


def journal(lines: int = 30) -> str:
    """Return the end of the unit's log."""
    return run("journalctl", "--unit", UNIT, "--output=cat", "--no-pager", f"--lines={lines}").stdout


def status() -> dict[str, Any]:
    """Return what the daemon says of itself."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect("/run/edge-agent/control.sock")
        connection.sendall(b'{"ask": "status"}\n')
        with connection.makefile() as lines:
            answer: dict[str, Any] = json.loads(lines.readline())
    return answer


def wait_until(what: str, holds: Callable[[], object], seconds: float = 300) -> float:
    """Look again until it holds; return the seconds it took."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"not within {seconds:g} s: {what}\n{journal()}")
        time.sleep(0.2)
    return round(time.monotonic() - start, 1)


def drop_in(name: str, text: str | None) -> None:
    """Put a drop-in beside the unit, or take it away again."""
    path = DROP_INS / f"{name}.conf"
    if text is None:
        path.unlink()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run("systemctl", "daemon-reload")
