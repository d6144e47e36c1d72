"""Three daemons with a real Mosquitto: coalition, shared evidence, a killed member and its return."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent import Model
from edge_agent.engine import golden
from edge_agent.protocol.peers.codes import divergence
from edge_agent.wire import bundle
from tests.support.bayes_filter import BayesFilter

from .conftest import run_edge_agent, until
from .ending import end_all

pytestmark = pytest.mark.broker

NAMES = ("east", "north", "west")
SEES = {"east": 0, "north": 1, "west": 2}
"""The bin that each device's sensor reads, all the time."""
A = np.array([[0.5, 0.3, 0.2], [0.3, 0.4, 0.3], [0.2, 0.3, 0.5]])
B = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])[:, :, None]
META = {
    "modalities": [{"name": "smell", "edges": [1, 2]}],
    "factors": [{"name": "gas"}],
    "controls": [{"name": "nothing", "values": ["nothing"]}],
}
CONFIG = """
[device]
name = "{name}"
fleet = "lab"
state_dir = "state"
socket = "s"
telemetry_s = 0.3
[recorder]
path = "recording"
[broker]
host = "127.0.0.1"
port = {port}
[peers]
heartbeat_s = 1.0
pause_s = 0.1
period_s = 0.25
capabilities = ["nose"]
[[objective]]
name = "sniff"
[[objective.role]]
name = "first"
capability = "nose"
preferences = {{ smell = [0.0, 0.0, -2.0] }}
[[objective.role]]
name = "second"
capability = "nose"
[[objective.role]]
name = "third"
capability = "nose"
required = false
[[population]]
name = "rooms"
bundle = "../gas.eab"
agents = ["hall"]
rate_hz = 4
observe = [{{ modality = "smell", source = "file", path = "smell" }}]
share = [{{ factor = "gas" }}]
"""


def make_bundle(path: Path) -> None:
    model = Model.from_arrays([A], [B], [np.zeros(3)], meta=META, name="gas")
    entries = model.entries() | {"golden.npz": golden.make(model)}
    manifest: dict[str, Any] = {"name": "gas", "version": "1", "kind": "pomdp", "created": 0}
    manifest |= {"source_sha256": "0" * 64, "io": META, "memory": {}, "evaluation": {}, "requires": {}}
    bundle.write(path, manifest, entries)


def saw(names: tuple[str, ...]) -> np.ndarray:
    """Return the belief of one agent that saw for a long time what ``names`` see."""
    likelihood = np.prod([A[SEES[name]] for name in names], axis=0)
    belief, filter_ = np.full(3, 1 / 3), BayesFilter(B)
    for _ in range(200):
        belief = filter_.predict(belief, 0) * likelihood
        belief /= belief.sum()
    return belief


class Daemon:
    def __init__(self, folder: Path, name: str, port: int) -> None:
        self.name, self.folder = name, folder / name
        self.folder.mkdir()
        (self.folder / "device.toml").write_text(CONFIG.format(name=name, port=port))
        (self.folder / "smell").write_text(str(SEES[name]))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "edge_agent", "run", "--config", "device.toml"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=5.0)

    def peers(self) -> dict[str, Any]:
        done = run_edge_agent(self.folder, "status", "--socket", "s", "--json")
        return json.loads(done.stdout)["peers"] if done.returncode == 0 else {}

    def believes(self, names: tuple[str, ...]) -> Callable[[], bool]:
        """Return whether it is in a coalition of ``names`` and believes what one that saw it all would."""

        def question() -> bool:
            peers = self.peers()
            coalition = peers.get("coalition")
            if coalition is None or not coalition["confirmed"] or set(coalition["members"]) != set(names):
                return False
            belief = np.array(peers["sharing"]["channels"]["hall"]["belief"])
            return divergence(saw(names), belief) < 2e-3

        return question


@pytest.fixture
def daemons(tmp_path: Path, mosquitto: Any) -> Iterator[dict[str, Daemon]]:
    make_bundle(tmp_path / "gas.eab")
    made = {name: Daemon(tmp_path, name, mosquitto.port) for name in NAMES}
    yield made
    end_all(daemon.process for daemon in made.values() if daemon.process is not None)


def test_three_believe_as_one_lose_a_member_and_take_it_back(daemons: dict[str, Daemon]) -> None:
    apart, together, left = saw(NAMES[:1]), saw(NAMES), saw(NAMES[:2])
    assert min(divergence(together, apart), divergence(left, together), divergence(left, apart)) > 0.05
    for daemon in daemons.values():
        daemon.start()
    for daemon in daemons.values():
        until(daemon.believes(NAMES))
    daemons["west"].kill()
    for name in NAMES[:2]:
        until(daemons[name].believes(NAMES[:2]))
    daemons["west"].start()
    for daemon in daemons.values():
        until(daemon.believes(NAMES))
    peers = daemons["east"].peers()
    # On a slow machine two may have agreed before the third was up.
    assert peers["left"] >= 2
    assert peers["joined"] == peers["left"] + 1
    assert peers["refused"] == 0
    assert peers["received"] > 30
    assert daemons["east"].end() == 0
    replayed = run_edge_agent(daemons["east"].folder, "replay", "recording", "--json")
    assert (replayed.returncode, replayed.stderr) == (0, "")
    until(daemons["north"].believes(("north", "west")))
