"""A user's package gives the daemon a sensor and an actuator through its entry points."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.adapters.action_sinks import ProgramRunner
from edge_agent.adapters.input_sources import plugin
from edge_agent.commands.compose_io import ACTUATORS, SENSORS, sinks
from edge_agent.config.records import ActConfig, Config, DeviceConfig, PopulationConfig
from edge_agent.errors import ConfigError

MODULE = """
class Thermometer:
    bins = False

    def __init__(self, agents):
        self.agents = agents

    def read(self):
        return [(number, 20.0 + number) for number in range(len(self.agents))]

    def close(self):
        self.agents = []


told = []


def valve():
    return lambda agent, payload: told.append((agent, payload)) or agent != "stuck"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greenhouse_devices.py").write_text(MODULE)
    info = tmp_path / "greenhouse_devices-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greenhouse-devices\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{SENSORS}]\nthermometer = greenhouse_devices:Thermometer\n"
        f"[{ACTUATORS}]\nvalve = greenhouse_devices:valve\nbroken = greenhouse_devices:none_such\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("package")
def test_a_sensor_is_found_by_name_and_read() -> None:
    source = plugin(SENSORS, "thermometer")(["a", "b"])
    assert source.read() == [(0, 20.0), (1, 21.0)]


@pytest.mark.usefixtures("package")
def test_an_actuator_is_made_once_and_says_whether_it_took_the_action() -> None:
    import greenhouse_devices  # type: ignore[import-not-found]

    act = ActConfig(control="valve", sink="plugin", plugin="valve")
    population = PopulationConfig(name="beds", bundle="beds.eab", size=2, act=(act,))
    config = Config(device=DeviceConfig(name="dev"), population=(population,))
    to_plugin = sinks(ProgramRunner({}), config)["plugin"]
    assert to_plugin(act, "bed-1", 0, "open") is True
    assert to_plugin(act, "stuck", 1, "open") is False
    gutter = replace(act, plugin="gutter")
    assert greenhouse_devices.told == [("bed-1", "open"), ("stuck", "open")]
    with pytest.raises(ConfigError, match="gutter"):
        sinks(ProgramRunner({}), replace(config, population=(replace(population, act=(gutter,)),)))


@pytest.mark.usefixtures("package")
def test_a_plug_in_that_does_not_load_is_named() -> None:
    with pytest.raises(ConfigError, match="broken"):
        plugin(ACTUATORS, "broken")
