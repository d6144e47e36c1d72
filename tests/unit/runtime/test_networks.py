"""Observations of a network are numbers: used unchanged, or counted as faults."""

from typing import Any

import numpy as np
import pytest

from edge_agent.engine.binding import Binding, Fault
from edge_agent.errors import ConfigError
from edge_agent.runtime.population.channels import parse_array

META = {"modalities": [{"name": "co2", "unit": "ppm"}, {"name": "heat"}]}


@pytest.fixture
def binding() -> Binding:
    return Binding(META, (0, 0), (3,), "net.eab")


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (21.5, 21.5),
        (-3, -3.0),
        (True, 1.0),
        ("4.25", 4.25),
        ("ON", Fault.NOT_A_NUMBER),
        (float("nan"), Fault.NOT_A_NUMBER),
        (float("inf"), Fault.NOT_A_NUMBER),
        (1e39, Fault.OUT_OF_RANGE),
        (10**400, Fault.OUT_OF_RANGE),
        ([1], Fault.NOT_A_NUMBER),
    ],
)
def test_a_reading_is_the_number_itself(binding: Binding, reading: Any, expected: Any) -> None:
    assert binding.modalities[0].encode(reading) == expected


def test_a_bulk_message_brings_numbers_and_gaps(binding: Binding) -> None:
    values = np.array([[1.5, np.nan], [np.inf, -2.0]], "<f4")
    body = {"obs": values.tobytes(), "shape": [2, 2], "dtype": "float32"}
    numbers = parse_array(body, binding.modalities, 2)
    assert isinstance(numbers, np.ndarray)
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, [[1.5, np.nan], [np.nan, -2.0]])
    assert np.array_equal(binding.observed(numbers), [[True, False], [False, True]])
    bins = body | {"obs": np.zeros((2, 2), "<i2").tobytes(), "dtype": "int16"}
    assert parse_array(bins, binding.modalities, 2) is Fault.BAD_ARRAY


def test_people_read_numbers_with_their_unit(binding: Binding) -> None:
    assert binding.modalities[0].text(412.0) == "412 ppm"
    assert binding.modalities[0].text(float("nan")) == "-"


def test_bins_make_no_sense_for_a_network() -> None:
    with pytest.raises(ConfigError, match="1 edges make 2 bins, the model has 0"):
        Binding({"modalities": [{"name": "co2", "edges": [800]}]}, (0,), (3,), "net.eab")
