"""What a bundle says of its inputs and outputs must fit its model; readings have names for people."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.errors import ConfigError
from edge_agent.runtime.population.binding import Binding

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
    assert (binding.modality("co2", "k"), binding.modality("0", "k"), binding.control("fan", "k")) == (
        0,
        0,
        0,
    )
    with pytest.raises(ConfigError, match=r"k: fan.eab has no modality '1', expected one of co2"):
        binding.modality("1", "k")
