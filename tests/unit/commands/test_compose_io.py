"""Sources and sinks beside MQTT, as ``run`` connects them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_agent.adapters.action_sinks import ProgramRunner
from edge_agent.commands.compose_io import connect_sources, sinks
from edge_agent.config.records import ActConfig, Config, DeviceConfig, ObserveConfig, PopulationConfig
from edge_agent.engine.binding import Binding
from edge_agent.errors import ConfigError


class Group:
    """A population's names and modalities; keeps the sources it is given."""

    def __init__(self, *observe: ObserveConfig) -> None:
        self.config = PopulationConfig(name="rooms", bundle="b.eab", size=2, observe=observe)
        self.binding = Binding({"modalities": [{"name": "co2"}, {"name": "door"}]}, [3, 2], [2], "b.eab")
        self.names = ["hall", "lab"]
        self.fed: list[tuple[int, Any]] = []
        self.poll_s = 1.0
        self.inputs = SimpleNamespace(feed=self.feed)

    def feed(self, _entry: ObserveConfig, column: int, source: Any) -> None:
        self.fed.append((column, source))


def test_a_trace_and_files_feed_the_modalities_they_are_named_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", obs=np.array([[[0, 1], [2, 0]]]))
    (tmp_path / "co2-lab").write_text("1200\n")
    trace = ObserveConfig(modality="door", source="trace", path=str(tmp_path / "t.npz"))
    file = ObserveConfig(modality="co2", source="file", path=str(tmp_path / "co2-{agent}"))
    group: Any = Group(ObserveConfig(modality="co2", topic="t"), trace, file)
    connect_sources(group)
    (door, rows), (co2, readings) = group.fed
    assert (door, rows.read()) == (1, [(0, 1), (1, 0)])
    readings.read_files()
    assert (co2, list(readings.read())) == (0, [(1, 1200.0)])
    for _, source in group.fed:
        source.close()


def test_a_plug_in_that_is_not_installed_is_named() -> None:
    group: Any = Group(ObserveConfig(modality="co2", source="plugin", plugin="nose"))
    with pytest.raises(ConfigError, match=r"edge_agent\.sensors: found 'nose'"):
        connect_sources(group)
    act = ActConfig(control="fan", sink="plugin", plugin="arm")
    population = PopulationConfig(name="rooms", bundle="b.eab", size=1, act=(act,))
    with pytest.raises(ConfigError, match=r"edge_agent\.actuators: found 'arm'"):
        sinks(ProgramRunner([]), Config(device=DeviceConfig(name="pi"), population=(population,)))


def test_actions_go_to_files_and_listed_programs_with_their_words_filled_in(tmp_path: Path) -> None:
    ran: list[list[str]] = []
    commands: Any = SimpleNamespace(run=lambda words: ran.append(list(words)) or True)
    found = sinks(commands, Config(device=DeviceConfig(name="pi"), population=()))
    (tmp_path / "fan1").touch()
    file = ActConfig(control="fan", sink="file", path=str(tmp_path / "fan{index}"))
    assert found["file"](file, "lab", 1, "on")
    assert (tmp_path / "fan1").read_text() == "on"
    assert not found["file"](file, "attic", 2, "on")
    program = ActConfig(control="fan", sink="command", command=("/bin/fan", "{agent}", "{index}", "{value}"))
    assert found["command"](program, "lab", 1, "on")
    assert ran == [["/bin/fan", "lab", "1", "on"]]
