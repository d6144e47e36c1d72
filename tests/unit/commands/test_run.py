"""The daemon's outermost loop: an unhandled exception ends it in order."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.commands import run
from edge_agent.testing.clock import ManualClock


def test_what_nobody_foresaw_is_logged_and_agents_are_held_safe(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []

    def run_once(_woken_at: float | None) -> float:
        raise ZeroDivisionError("nobody foresaw it")

    daemon: Any = SimpleNamespace(
        start=lambda: said.append("start"), stop=lambda: said.append("stop"), run_once=run_once, completed=0
    )
    supervision: Any = SimpleNamespace(
        started=lambda: said.append("ready"), stopping=lambda: said.append("stopping")
    )
    monkeypatch.setattr(run.signal, "signal", lambda *_: signal.SIG_DFL)
    nothing: Any = SimpleNamespace()
    code = run._serve(daemon, nothing, ManualClock(), supervision, lambda: None, lambda: "full", [], nothing)
    assert code == 1
    assert said == ["start", "ready", "stopping", "stop"]
    assert "ZeroDivisionError: nobody foresaw it" in caplog.text
