"""A steady reading does not make a fan chatter: the configurations of the pages that have one.

The agent's beliefs are those of the float64 reference, stepped once per tick with the unquantized model.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blocks import DOCS, ROOT, blocks

from edge_agent.commands.compose import compose
from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.engine import reference
from edge_agent.memory.arena import Arena
from edge_agent.runtime.populations import Populations
from edge_agent.testing.broker import MemoryBroker
from edge_agent.testing.clock import ManualClock
from edge_convert.readers import pymdp_npz

OFFICE = ROOT / "examples" / "office"
CONVERT = str(Path(sys.executable).parent / "edge-convert")
DEVICE = '[device]\nname = "board"\nfleet = "home"\nprofile = "generic"\nstate_dir = "state"\n'
START = 1000.0
READING = b'{"co2": 1000, "illuminance": 300}'


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The office bundle, made by the quick start's commands."""
    folder = tmp_path_factory.mktemp("office")
    for command in (
        [
            CONVERT,
            "fit",
            OFFICE / "data/office_occupancy.csv",
            "--template",
            OFFICE / "office.toml",
            "-o",
            "office.npz",
        ],
        [CONVERT, "convert", "office.npz", "-o", "office.eab"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "office.eab"


def configuration(page: Path, folder: Path, office: Path) -> Path:
    """Write the configuration that a page shows, with its bundle beside it; return its path."""
    (text,) = (b.text for b in blocks(page) if "[[population]]" in b.text and "{agent}-fan" in b.text)
    found = re.search(r"<<'EOF'\n(.*?)^EOF$", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    document = found[1] if "[device]" in found[1] else DEVICE + found[1]
    bundle = re.search(r'^bundle = "(.*)"$', document, re.MULTILINE)
    assert bundle is not None
    (folder / bundle[1]).parent.mkdir(exist_ok=True)
    shutil.copyfile(office, folder / bundle[1])
    path = folder / "device.toml"
    path.write_text(document)
    return path


@pytest.mark.parametrize(
    "page", [DOCS / "how-to" / "install.md", DOCS / "quick-start.md"], ids=lambda p: p.name
)
def test_ten_minutes_of_one_steady_reading_are_at_most_two_commands(
    page: Path, tmp_path: Path, office: Path
) -> None:
    composed = compose(configuration(page, tmp_path, office), "generic")
    clock = ManualClock(start=START)
    populations = Populations(composed.config, composed.plan, Arena(composed.plan.arena))
    broker = MemoryBroker(clock)
    builder = DaemonBuilder(
        populations, clock, lambda: 1, client=broker.client("board"), jitter=random.Random(1)
    )
    daemon = builder.build(composed.prepared)
    daemon.start()
    (group,) = populations.groups.values()
    agent = list(group.names).index("meeting")

    def until(end: float) -> None:
        while clock.monotonic() < end:
            broker.publish("zigbee2mqtt/meeting", READING, qos=0)
            for _ in range(3):
                broker.run()
                daemon.run_once()
            clock.advance(min(5.0, end - clock.monotonic()))

    model = pymdp_npz.read(office.with_suffix(".npz")).arrays
    observed = group.observations.collect(None, clock.monotonic())[0][agent]
    assert (observed < 0).all()
    until(START + 600.0)
    observed = group.observations.collect(None, clock.monotonic())[0][agent].copy()
    assert (observed >= 0).any()
    commands = [p.payload for p in broker.log if p.topic.endswith("-fan/set")]
    assert 1 <= len(commands) <= 2
    assert all(p.topic == "zigbee2mqtt/meeting-fan/set" for p in broker.log if p.topic.endswith("/set"))
    expected, _ = reference.infer(model, model.D, observed)
    assert_close(group.model_port, agent, expected)
    tick = composed.prepared[0].binding.tick_s
    assert tick is not None
    for closed in range(1, 4):
        until(START + closed * tick + 6.0)  # the reading has come in the next tick
        assert group.counters.ticks == closed
        action = group.history.select(agent)["action"][-1].tolist()
        expected, _ = reference.infer(model, reference.predict(model, expected, action), observed)
        assert_close(group.model_port, agent, expected)
        commands = [p.payload for p in broker.log if p.topic.endswith("-fan/set")]
        assert len(commands) <= 1 + closed  # one per tick


def assert_close(port: Any, agent: int, expected: Any) -> None:
    """Check an agent's beliefs in 8 bits."""
    for f, beliefs in enumerate(expected):
        np.testing.assert_allclose(port.beliefs(f)[agent], beliefs, atol=0.02)
