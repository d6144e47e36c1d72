"""A sensor reads the air until its tick, and then what its fault says."""

import numpy as np
import pytest

from sensor_faults import FAULTS, FaultySensor

HOURS = 0.25
TICKS = 400


def _course(fault: str, air: np.ndarray, since: list[int], seed: int = 1) -> np.ndarray:
    sensor = FaultySensor(fault, np.array(since), HOURS, seed)
    return np.array([sensor.read(ppm, tick) for tick, ppm in enumerate(air)])


@pytest.fixture(scope="module")
def air() -> np.ndarray:
    """Two rooms; no value occurs twice."""
    return np.random.default_rng(5).permutation(np.linspace(500.0, 1500.0, 2 * TICKS)).reshape(TICKS, 2)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sensor_reads_the_air_until_its_own_tick(fault: str, air: np.ndarray) -> None:
    read = _course(fault, air, [100, 300])
    np.testing.assert_array_equal(read[:100, 0], air[:100, 0])
    np.testing.assert_array_equal(read[:300, 1], air[:300, 1])
    assert fault == "none" or (read[100:, 0] != air[100:, 0]).any()


def test_faults_without_chance_are_their_formulas(air: np.ndarray) -> None:
    since = [100, 300]
    hours = np.maximum(np.arange(TICKS)[:, None] - np.array(since), 0) * HOURS
    np.testing.assert_allclose(_course("rising", air, since), air + 5.0 * hours)
    np.testing.assert_allclose(_course("falling", air, since), np.maximum(air - 5.0 * hours, 0.0))
    frozen, silent = _course("frozen", air, since), _course("silent", air, since)
    for room, tick in enumerate(since):
        assert (frozen[tick:, room] == air[tick - 1, room]).all()
        assert np.isnan(silent[tick:, room]).all()


def test_a_falling_sensor_ends_at_zero() -> None:
    read = _course("falling", np.full((TICKS, 1), 100.0), [1])
    assert read[-1, 0] == 0.0


def test_one_reading_in_five_is_wrong_and_the_others_are_right() -> None:
    air = np.full((TICKS, 200), 5000.0)
    read = _course("erratic", air, [0] * 200)
    wrong = read[read != 5000.0]
    count = air.size
    assert abs(len(wrong) / count - 0.2) < 4 * np.sqrt(0.2 * 0.8 / count)
    assert wrong.min() >= 400.0
    assert wrong.max() <= 2000.0
    # Uniform: a quarter of them in each quarter of the range.
    share = np.histogram(wrong, bins=4, range=(400.0, 2000.0))[0] / len(wrong)
    np.testing.assert_allclose(share, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / len(wrong)))


def test_noise_is_normal_with_150_ppm() -> None:
    error = _course("noisy", np.full((TICKS, 200), 3000.0), [0] * 200) - 3000.0
    assert abs(error.mean()) < 4 * 150.0 / np.sqrt(error.size)
    assert error.std() == pytest.approx(150.0, rel=0.02)
    assert (abs(error) < 150.0).mean() == pytest.approx(0.6827, abs=0.01)


@pytest.mark.parametrize("fault", ["erratic", "noisy"])
def test_errors_depend_on_the_seed_and_not_on_the_air(fault: str, air: np.ndarray) -> None:
    one, other = _course(fault, air, [50, 50]), _course(fault, air + 100.0, [50, 50])
    if fault == "erratic":
        wrong = one != air
        np.testing.assert_array_equal(wrong, other != air + 100.0)
        np.testing.assert_array_equal(one[wrong], other[wrong])
    else:
        np.testing.assert_allclose(one + 100.0, other)
    assert not np.array_equal(one, _course(fault, air, [50, 50], seed=2))
