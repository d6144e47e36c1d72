"""The balance as a prior: its transitions are those of the formula; its rate and sources are found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.wire import readings as readings_file
from edge_agent.wire.readings import ModalityNames, Readings
from edge_convert.fit.balance import band_transition
from edge_convert.fit.estimate import fit
from edge_convert.fit.parameters import Estimator
from tests.support.fit_worlds import prepared, quiet, structure, toml

EDGES = np.array([500.0, 600.0, 700.0])
TEMPLATE = """
tick_seconds = 600
[[control]]
name = "fan"
values = ["off", "high"]
[[factor]]
name = "people"
states = ["none", "some"]
[[factor]]
name = "air"
of = "co2"
bands = [500.0, 600.0, 700.0, 800.0, 900.0]
depends_on = ["people"]
control = "fan"
[factor.balance]
outside = 400.0
source = "people"
emission = { none = 0.0, some = 300.0 }
rates = { off = 0.0, high = 4.0 }
idle = { modality = "light", below = 1.0 }
[[modality]]
name = "co2"
sees = ["air"]
[[modality]]
name = "light"
sees = ["people"]
edges = [1.0]
"""


def transition(source: float, rate: float, hours: float) -> np.ndarray:
    """Return the transitions of one state of the source, without spread and with hardly any noise."""
    return band_transition(EDGES, 400.0, np.array([source]), np.zeros(1), rate, hours, 1.0)[..., 0]


def test_the_transition_is_that_of_the_mass_balance() -> None:
    # No emission, a fast exchange: everything ends in the lowest band.
    np.testing.assert_allclose(transition(0.0, 50.0, 1.0)[0], 1.0, atol=1e-6)
    # Emission that holds 650, and time enough to get there.
    np.testing.assert_allclose(transition(2500.0, 10.0, 2.0)[2], 1.0, atol=1e-6)
    # A decay to four fifths takes the upper half of 600 to 700, 250 to 300 over outside, above 600.
    assert transition(0.0, float(np.log(5.0 / 4.0)), 1.0)[1, 2] == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(transition(300.0, 1.0, 0.5).sum(axis=0), 1.0, atol=1e-12)


def room(path: Path) -> None:
    """Write a month of a room with 500 ppm/h while somebody is in it, at 0.8 air changes per hour."""
    random = np.random.default_rng(5)
    hours, rate, count = 1 / 6, 0.8, 30 * 144
    people = np.repeat(random.integers(0, 2, count // 18), 18)
    co2 = np.full(count, 500.0)
    kept = np.exp(-rate * hours)
    for t in range(1, count):
        source = 500.0 * people[t - 1] * random.uniform(0.9, 1.1)
        co2[t] = 400.0 + (co2[t - 1] - 400.0) * kept + source / rate * (1.0 - kept)
    readings_file.write(
        path,
        Readings(
            ("room",),
            (ModalityNames("co2"), ModalityNames("light")),
            (),
            np.repeat(np.arange(count) * 600.0, 2),
            np.zeros(2 * count, np.int64),
            np.tile([0, 1], count),
            np.stack([co2, 100.0 * people], axis=1).ravel(),
            np.full(2 * count, -1),
            np.zeros(0),
            *[np.zeros(0, np.int64)] * 3,
        ),
    )


def test_rate_and_sources_are_found_and_the_fan_follows_from_them(tmp_path: Path) -> None:
    room(tmp_path / "room.npz")
    template = toml(tmp_path / "t.toml", TEMPLATE)
    estimator, segments = prepared(tmp_path / "room.npz", template)
    assert isinstance(estimator, Estimator)
    assert estimator.sources[1].rate == pytest.approx(0.8, rel=0.02)
    found = fit(estimator, structure(template), segments, 8, quiet).parameters
    assert found.sources[1].mean == pytest.approx([0.0, 500.0], abs=15.0)
    air = found.transitions[1]  # [next, air, people, fan]
    band = np.arange(6)
    expected = np.einsum("n,napu->apu", band, air)
    assert (expected[3:, :, 1] < expected[3:, :, 0] - 0.3).all()
