"""``edge-agent record``: what it reads out of flight recordings, its errors, and a broker that goes away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent import Population
from edge_agent.cli import main
from edge_agent.errors import PlatformError
from edge_agent.protocol.ports import (
    MQTT_5,
    MQTT_311,
    Connected,
    Disconnected,
    Event,
    Received,
    Subscription,
)
from edge_agent.runtime.recording.recorder import frame
from edge_agent.services.live_recording import LiveRecording
from edge_agent.testing.clock import ManualClock
from edge_agent.wire import readings
from tests.support import fan

CONFIG = """
[device]
name = "dev"
state_dir = "state"
socket = "s"
[recorder]
path = "recording"
[[population]]
name = "rooms"
bundle = "fan.eab"
agents = ["hall", "lab"]
rate_hz = 0.5
observe = [{ modality = "0", topic = "z/{agent}" }]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, a bundle, and a recording of two runs of the daemon; we are in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "device.toml").write_text(CONFIG)
    model = fan.model()
    digest = fan.write(tmp_path / "fan.eab", model)
    begin = {"kind": "begin", "population": "rooms", "digest": digest, "bundle": "fan.eab", "size": 2} | {
        "seed": 4, "horizon": None, "names": ["hall", "lab"], "beliefs": Population(model, 2).checkpoint()
    }  # fmt: skip
    write(tmp_path / "recording.old", [begin, step(0, [0, 1], [1, -1], [0, 1])])
    held = {"held": np.array([1], "<i4").tobytes(), "executed": np.array([0], "<i2").tobytes()}
    write(
        tmp_path / "recording", [begin, step(1, [1], [1], [1]) | held, begin, step(0, [0, 1], [0, 0], [0, 0])]
    )
    return tmp_path


def step(tick: int, agents: list[int], observed: list[int], actions: list[int]) -> dict[str, Any]:
    return {
        "kind": "step",
        "population": "rooms",
        "tick": tick,
        "agents": np.array(agents, "<i4").tobytes(),
        "observed": np.array(observed, "<i2").tobytes(),
        "actions": np.array(actions, "<i2").tobytes(),
        "shape": [len(agents), 1, 1],
    }


def write(path: Path, entries: list[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(map(frame, entries)))


def test_a_flight_recording_gives_bins_ticks_and_executed_actions(place: Path) -> None:
    assert main(["record", "--config", "device.toml", "--recorder", "-o", "seen.npz"]) == 0
    found = readings.read(place / "seen.npz")
    assert (found.clock, found.agents) == ("ticks", ("hall", "lab"))
    # A tick takes two seconds at 0.5 Hz. A daemon that was started again follows after a gap.
    assert found.time.tolist() == [0.0, 2.0, 202.0, 202.0]
    assert found.agent.tolist() == [0, 1, 0, 1]
    assert found.bin.tolist() == [1, 1, 0, 0]
    assert np.isnan(found.value).all()
    assert found.action_agent.tolist() == [0, 1, 1, 0, 1]
    assert found.action.tolist() == [0, 1, 0, 0, 0]  # the lab was held safe in its second step


@pytest.mark.parametrize(
    ("settings", "tick_s", "between"),
    [
        ("", 960.0, 960.0),  # a bundle's tick
        ("rate_hz = 0.5", None, 2.0),
        ('rate_hz = 0.5\ntick = "ignore"', 960.0, 2.0),  # the population's own
        ('rate_hz = 2.0\ntick = "arrival"\nstep = "arrival"', 960.0, 960.0),  # played faster than time
    ],
)
def test_times_are_those_of_the_ticks_at_which_the_population_ran(
    place: Path, settings: str, tick_s: float | None, between: float
) -> None:
    (place / "device.toml").write_text(CONFIG.replace("rate_hz = 0.5", settings))
    model = fan.model(tick_s=tick_s)
    begin = {"kind": "begin", "population": "rooms", "digest": fan.write(place / "fan.eab", model)} | {
        "bundle": "fan.eab", "size": 2, "seed": 4, "horizon": None, "names": ["hall", "lab"],
        "beliefs": Population(model, 2).checkpoint(),
    }  # fmt: skip
    passed = {"kind": "pass", "population": "rooms", "observed": np.array([-1, 1], "<i2").tobytes()}
    (place / "recording.old").unlink()
    write(
        place / "recording",
        [begin, step(4, [0, 1], [1, -1], [0, 1]), passed, step(6, [0, 1], [0, 0], [0, 1])],
    )
    assert main(["record", "--config", "device.toml", "--recorder", "-o", "seen.npz"]) == 0
    found = readings.read(place / "seen.npz")
    assert (found.time / between).tolist() == [0.0, 1.0, 2.0, 2.0]  # one in a tick that passed
    assert (found.agent.tolist(), found.bin.tolist()) == ([0, 1, 0, 1], [1, 1, 0, 0])
    assert (found.action_time / between).tolist() == [0.0, 0.0, 2.0, 2.0]
    assert found.tick_seconds == between


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "seen.csv"], "-o seen.csv: found the suffix '.csv', expected .npz"),
        (["-o", "no/seen.npz"], "expected it to exist"),
        (["-o", "a.npz", "--population", "attic"], "--population: found 'attic', expected one of rooms"),
        (["-o", "a.npz"], "device.toml: broker: missing, expected one to record from"),
        (["-o", "a.npz", "--recorder", "nothing"], "nothing: No such file"),
        (["-o", "a.npz", "--recorder", "fan.eab"], "fan.eab: not a flight recording"),
    ],
)
def test_what_is_wrong_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["record", "--config", "device.toml", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(place.glob("*.npz"))


def test_another_model_than_the_recordings_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "fan.eab").unlink()
    assert main(["record", "--config", "device.toml", "--recorder", "-o", "a.npz"]) == 2
    assert "no bundle with digest" in capsys.readouterr().err


class Client:
    """A client whose events the test gives."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.subscribed: list[str] = []
        self.acknowledged: list[int] = []
        self.waiting: list[Event] = []

    def connect(self, will: None, version: int) -> None:
        self.attempts.append(version)

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        self.subscribed += [subscription.filter for subscription in subscriptions]

    def acknowledge(self, acknowledge: int) -> None:
        self.acknowledged.append(acknowledge)

    def events(self) -> Sequence[Event]:
        events, self.waiting = self.waiting, []
        return events


class Sink:
    """Keeps messages."""

    full = False

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes, float]] = []

    def filters(self) -> list[str]:
        return ["z/+"]

    def message(self, topic: str, payload: bytes, time: float) -> None:
        self.messages.append((topic, payload, time))


def test_a_lost_connection_is_tried_again_ever_later_and_the_file_saved_meanwhile() -> None:
    client, sink, clock, saves = Client(), Sink(), ManualClock(), []
    live = LiveRecording(client, sink, clock, lambda: saves.append(clock.monotonic()), 100.0)
    live.run_once()
    client.waiting = [Disconnected("a broker of long ago", unsupported=True)]
    live.run_once()
    assert client.attempts == [MQTT_5, MQTT_311]
    client.waiting = [Connected(MQTT_311), Received("z/hall", b"1", 1, False, 7)]
    live.run_once()
    assert (client.subscribed, client.acknowledged) == (["z/+"], [7])
    assert sink.messages == [("z/hall", b"1", clock.time())]
    pauses = []
    for _ in range(8):
        client.waiting = [Disconnected("gone")]
        pauses.append(min(live.run_once(), 60.0))
        clock.advance(60.0)
        live.run_once()
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(pauses) <= 60.0
    assert len(client.attempts) == 10
    assert len(saves) == 4


def test_a_broker_that_never_accepts_ends_the_recording() -> None:
    client = Client()
    live = LiveRecording(client, Sink(), ManualClock(), lambda: None, 100.0)
    live.run_once()
    client.waiting = [Disconnected("h:1: bad user name or password")]
    with pytest.raises(PlatformError, match="bad user name"):
        live.run_once()
