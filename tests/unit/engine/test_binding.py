"""The inputs and outputs of a bundle must fit its model; readings have readable names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import ActConfig, PopulationConfig
from edge_agent.engine.binding import Binding
from edge_agent.errors import ConfigError
from edge_agent.runtime.population.actuators import actuators, columns

CO2 = {"name": "co2", "unit": "ppm", "edges": [600, 1000]}
FAN = {"name": "fan", "values": ["off", "on"]}


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"modalities": [CO2, CO2]}, "fan.eab: io names 2 modalities, the model has 1"),
        ({"controls": [FAN, FAN]}, "fan.eab: io names 2 controls, the model has 1"),
        ({"modalities": [CO2 | {"edges": [600]}]}, "modality co2: 1 edges make 2 bins, the model has 3"),
        (
            {"modalities": [{"name": "air", "labels": ["good"]}]},
            "modality air: 1 labels, the model has 3 bins",
        ),
        ({"controls": [FAN | {"values": ["off"]}]}, "control fan: 1 values, the model has 2 actions"),
    ],
)
def test_a_binding_that_does_not_fit_its_model_is_named(meta: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Binding(meta, [3], [2], "fan.eab")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("modality", "texts"),
    [
        (CO2, ["-", "..600 ppm", "600..1000 ppm", "1000.. ppm"]),
        ({"labels": ["good", "fair", "bad"]}, ["-", "good", "fair", "bad"]),
        ({}, ["-", "0", "1", "2"]),
    ],
)
def test_bins_have_words_for_people(modality: dict[str, Any], texts: list[str]) -> None:
    (made,) = Binding({"modalities": [modality]}, [3], [2], "fan.eab").modalities
    assert [made.text(code) for code in (-1, 0, 1, 2)] == texts


def test_modalities_and_controls_are_found_by_name_or_number() -> None:
    binding = Binding({"modalities": [CO2], "controls": [FAN]}, [3], [2], "fan.eab")
    assert (binding.modality("co2", "k"), binding.modality("0", "k"), binding.output("fan", "k").column) == (
        0,
        0,
        0,
    )
    with pytest.raises(ConfigError, match=r"k: fan.eab has no modality '1', expected one of co2"):
        binding.modality("1", "k")


TWO_IN_ONE = {
    "action_maps": [{"controls": [0, 1], "sizes": [2, 3]}, {"controls": [1], "sizes": [3]}],
    "controls": [FAN, {"name": "level", "values": ["low", "mid", "high"]}],
}


class Told:
    """A sink that keeps what went out."""

    def __init__(self) -> None:
        self.payloads: list[tuple[str, str]] = []

    def __call__(self, config: ActConfig, agent: str, number: int, payload: str) -> bool:
        self.payloads.append((config.topic, payload))
        return True


def arrays_of(config: PopulationConfig) -> dict[str, NDArray[Any]]:
    return {column.name: np.zeros(column.shape, column.dtype) for column in columns(config, config.size)}


def test_flattened_actions_go_out_as_the_agents_own_controls() -> None:
    """Factor 0's action 4 of 6 is fan 1 and level 1; the level is decided by factor 1, which has it last."""
    binding = Binding(TWO_IN_ONE, [3], [6, 3], "fan.eab")
    assert [output.control.name for output in binding.outputs] == ["fan", "level"]
    config = PopulationConfig(
        name="air",
        bundle="fan.eab",
        size=1,
        act=(ActConfig(control="fan", topic="f"), ActConfig(control="level", topic="l")),
    )
    fan, level = actuators(config, binding, AgentNames("a", 1, "air"), arrays_of(config))
    told, one = Told(), np.array([0])
    for row in ([4, 1], [3, 1], [1, 1], [1, 2]):
        for actuator in (fan, level):
            actuator.act(one, np.array([row[actuator.column]], np.int16), told, 0.0)
    # 4 and 3 are both "on": what does not change is not said again.
    assert told.payloads == [("f", "on"), ("l", "mid"), ("f", "off"), ("l", "high")]
    assert fan.held(one).tolist() == [-1]
    assert (fan.columns, level.columns) == ((0,), (0, 1))


def test_a_flattened_action_that_waited_is_sent_as_the_agents_own_control() -> None:
    binding = Binding(TWO_IN_ONE, [3], [6, 3], "fan.eab")
    act = (ActConfig(control="fan", topic="f", dwell_s=60.0, values={"on": "ON"}),)
    config = PopulationConfig(name="air", bundle="fan.eab", size=1, act=act)
    (fan,) = actuators(config, binding, AgentNames("a", 1, "air"), arrays_of(config))
    told, one = Told(), np.array([0])
    fan.act(one, np.array([1], np.int16), told, 0.0)
    fan.act(one, np.array([4], np.int16), told, 30.0)
    assert told.payloads == [("f", "off")]
    assert fan.doing(one).tolist() == [-1]  # one control alone does not tell the factor's action
    fan.release(told, 59.0)
    assert told.payloads == [("f", "off")]
    agents, count = fan.release(told, 60.0)
    assert (agents.tolist(), count) == ([0], 1)
    assert told.payloads == [("f", "off"), ("f", "ON")]


@pytest.mark.parametrize(
    "maps",
    [
        [{"controls": [0, 1], "sizes": [2, 3]}],
        [{"controls": [0, 1], "sizes": [2, 2]}, {"controls": [1], "sizes": [3]}],
        [{"controls": [0], "sizes": [6]}, {"controls": [2], "sizes": [3]}],
        [{"controls": [0]}, {}],
        7,
    ],
)
def test_action_maps_that_do_not_fit_are_named(maps: Any) -> None:
    with pytest.raises(ConfigError, match=r"fan.eab: action_maps"):
        Binding({"action_maps": maps}, [3], [6, 3], "fan.eab")
