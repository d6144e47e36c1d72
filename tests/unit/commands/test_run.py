"""The daemon's outermost loop: an unhandled exception ends it in order."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.adapters import looped_client
from edge_agent.adapters.loop import Loop
from edge_agent.adapters.mqtt_loop import LoopMqttClient
from edge_agent.commands import run
from edge_agent.config.records import BrokerConfig, Config, DeviceConfig
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
    code = run._serve(
        daemon, nothing, ManualClock(), supervision, lambda: None, lambda: "full", [], nothing, None
    )
    assert code == 1
    assert said == ["start", "ready", "stopping", "stop"]
    assert "ZeroDivisionError: nobody foresaw it" in caplog.text


@pytest.mark.parametrize("known", [True, False])
def test_a_paho_that_the_loop_cannot_serve_serves_itself_and_that_is_said(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not known:
        monkeypatch.delattr(looped_client.LoopedClient, "_sock_send")
    config = Config(device=DeviceConfig(name="dev"), broker=BrokerConfig(), population=())
    loop = Loop()
    client = run._client(config, tmp_path / "device.toml", loop)
    loop.close()
    assert isinstance(client, LoopMqttClient) is known
    assert ("this paho-mqtt serves its connection itself" in caplog.text) is not known
