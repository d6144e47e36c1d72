"""An overridden agent believes what follows from the action that was executed, and a recording of it is
replayed exactly.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np

from edge_agent.adapters.recording_file import SegmentedFile
from edge_agent.commands.compose import compose
from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.engine import Population
from edge_agent.memory.arena import Arena
from edge_agent.runtime.daemon import Daemon
from edge_agent.runtime.population import models
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.recorder import frames
from edge_agent.runtime.recording.replay import Moment, replay
from edge_agent.testing.broker import MemoryBroker
from edge_agent.testing.clock import ManualClock
from tests.support import fan

CONFIG = """
[device]
name = "board"
profile = "generic"
state_dir = "state"
[broker]
home_assistant = "ha"
[[population]]
name = "rooms"
bundle = "fan.eab"
size = 2
agents = "room-{index}"
rate_hz = 1.0
[[population.observe]]
modality = "co2"
topic = "z/{agent}"
[[population.act]]
control = "fan"
topic = "z/{agent}/set"
[population.home_assistant]
override_s = 600.0
[recorder]
path = "flight.rec"
"""
LIKELIHOOD = np.array(fan.SEEN)
TRANSITION = np.array([[[0.9, 0.2], [0.1, 0.8]], [[0.1, 0.8], [0.9, 0.2]]])
"""To, from, fan."""


def turns(broker: MemoryBroker, daemon: Daemon) -> None:
    """Let the daemon do what is due."""
    for _ in range(3):
        broker.run()
        daemon.run_once()


def test_the_belief_is_predicted_from_the_action_that_was_executed(tmp_path: Path) -> None:
    fan.write(tmp_path / "fan.eab", fan.model())
    (tmp_path / "device.toml").write_text(CONFIG)
    composed = compose(tmp_path / "device.toml", "generic")
    clock = ManualClock(start=1000.0)
    populations = Populations(composed.config, composed.plan, Arena(composed.plan.arena))
    broker = MemoryBroker(clock)
    builder = DaemonBuilder(
        populations,
        clock,
        lambda: 1,
        client=broker.client("board"),
        jitter=random.Random(1),
        max_recording_bytes=10_000_000,
    )
    builder.show_home_assistant("ha", 10.0, None)
    recording = SegmentedFile(tmp_path / "flight.rec")
    daemon = builder.build(composed.prepared, recording_file=recording)
    daemon.start()
    port = populations.groups["rooms"].model_port
    assert isinstance(port, Population)
    overridden = {20: "on", 60: "off", 100: "auto"}
    rng = np.random.default_rng(5)
    expected = np.array([0.5, 0.5])
    believed: list[bytes] = []
    sent, steps = "", port.tick
    for second in range(140):
        bad = int(rng.integers(2))
        broker.publish("z/room-0", (b"500", b"1500")[bad], qos=0)
        turns(broker, daemon)
        if port.tick > steps:
            assert port.tick == steps + 1
            steps = port.tick
            if sent:
                expected = TRANSITION[:, :, ("off", "on").index(sent)] @ expected
            expected = expected * LIKELIHOOD[bad]
            expected /= expected.sum()
            believed.append(port.beliefs(0).tobytes())
            np.testing.assert_allclose(port.beliefs(0)[0], expected, atol=0.02)
        clock.advance(0.5)
        if second in overridden:
            body = {"agent": "room-0", "control": "fan", "value": overridden[second]}
            broker.publish("edge/v1/home/board/in/rooms/override", json.dumps(body).encode(), qos=1)
        turns(broker, daemon)
        commands = [p.payload.decode() for p in broker.log if p.topic == "z/room-0/set"]
        sent = commands[-1] if commands else ""
        if 20 <= second < 60:
            assert sent == "on"
        elif 60 <= second < 100:
            assert sent == "off"
        clock.advance(0.5)
    daemon.stop()
    data = (tmp_path / "flight.rec").read_bytes()
    entries = list(frames(data))
    assert [e["value"] for e in entries if e["kind"] == "override"] == ["on", "off", ""]
    model, _ = models.load_model(tmp_path / "fan.eab")
    replayed: list[bytes] = []

    def watch(_name: str, _tick: int, moment: Moment) -> bool:
        assert isinstance(moment.population, Population)
        replayed.append(moment.population.beliefs(0).tobytes())
        return False

    found = replay(entries, lambda _path, _digest: model, watch)
    assert found.difference is None
    assert replayed == believed
    replayed.clear()
    replay([e for e in entries if e["kind"] != "act"], lambda _path, _digest: model, watch)
    assert replayed != believed
