"""Each safeguard changes what its rule gets, or does, for the fault it is made for, and nothing else."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from controllers import HIGH, LOW, OFF, Controller, Threshold
from rooms import OBSERVED
from safeguards import (
    Fallback,
    JumpFilter,
    LastReading,
    LightGate,
    MeanFilter,
    NightBaseline,
    with_jump_filter,
    with_mean_filter,
)

NAN = float("nan")
NOON = np.datetime64("2015-02-05T12:00:00")
TICK = np.timedelta64(16, "m")


class Recorder:
    """A rule that is always high and keeps the CO2 that it was given."""

    def __init__(self) -> None:
        self.given: list[float] = []

    def decide(self, observations: np.ndarray, now: np.datetime64) -> np.ndarray:
        self.given.append(float(observations[0, OBSERVED.index("co2")]))
        return np.full(len(observations), HIGH)


def _observe(ppm: float, lux: float = 450.0) -> np.ndarray:
    return np.array([[ppm, lux, 21.0, 24.0, 0.0]])


def _given(around: Callable[[Controller], Controller], ppm: Sequence[float]) -> list[float]:
    rule = Recorder()
    controller = around(rule)
    for reading in ppm:
        assert controller.decide(_observe(reading), NOON)[0] == HIGH
    return rule.given


def test_without_a_reading_the_last_one_stands() -> None:
    assert _given(LastReading, [500, NAN, NAN, 700, NAN]) == [500, 500, 500, 700, 700]


def test_a_jump_counts_when_the_next_reading_is_near_it() -> None:
    assert _given(JumpFilter, [500, 850, 1201, 800, 1900, 1850, 600]) == [500, 850, 850, 800, 800, 1850, 1850]
    assert _given(JumpFilter, [500, NAN, 600, NAN]) == [500, 500, 600, 600]


def test_the_mean_is_exponential() -> None:
    assert _given(MeanFilter, [800, 400, 1000, NAN]) == [800, 600, 800, 800]


def _night(level: float, day: int) -> list[tuple[np.datetime64, float]]:
    """Readings from midnight to noon: ``level`` but for two errors, and 900 from 8 o'clock on."""
    times = np.datetime64(f"2015-02-0{day}T00:00:00") + TICK * np.arange(45)
    hours = np.arange(45) * 16 / 60
    ppm = np.where(hours >= 8, 900.0, level)
    ppm[[10, 14]] = 2000.0, 100.0
    return list(zip(times, ppm.tolist(), strict=True))


@pytest.mark.parametrize(("second", "shift"), [(440.0, 0.0), (489.0, 0.0), (560.0, -120.0), (320.0, 120.0)])
def test_readings_are_shifted_by_what_a_night_differs_from_the_first(second: float, shift: float) -> None:
    rule = Recorder()
    controller = NightBaseline(rule)
    for now, ppm in _night(440.0, 5):
        controller.decide(_observe(ppm), now)
    assert rule.given[-1] == 900.0
    for now, ppm in _night(second, 6):
        controller.decide(_observe(ppm), now)
    assert rule.given[-1] == 900.0 + shift


def test_a_dark_room_is_off() -> None:
    gate = LightGate(Recorder())
    assert [gate.decide(_observe(1500.0, lux), NOON)[0] for lux in (0.0, 299.0, 300.0)] == [OFF, OFF, HIGH]


@pytest.mark.parametrize("broken", [500.0, NAN])
def test_after_four_missing_or_equal_readings_light_decides(broken: float) -> None:
    controller = Fallback(Recorder())
    levels = [controller.decide(_observe(ppm), NOON)[0] for ppm in (450, 500, *[broken] * 4)]
    assert levels == [HIGH] * 5 + [LOW]
    assert controller.decide(_observe(broken, lux=0.0), NOON)[0] == OFF
    assert controller.decide(_observe(510.0), NOON)[0] == HIGH


@pytest.mark.parametrize("guarded", [with_jump_filter, with_mean_filter])
def test_a_good_sensor_in_slow_air_gives_the_rules_own_decisions(
    guarded: Callable[[float, float], Controller],
) -> None:
    # A slow rise and fall by day: neither filter may hold back a limit that is crossed for hours.
    ppm = np.concatenate([np.linspace(500.0, 1300.0, 200), np.linspace(1299.0, 500.0, 200)])
    controller, rule = guarded(800.0, 1000.0), Threshold(800.0, 1000.0)
    levels = [(controller.decide(_observe(x), NOON)[0], rule.decide(_observe(x), NOON)[0]) for x in ppm]
    same = np.mean([mine == plain for mine, plain in levels])
    assert same > 0.98
    assert {mine for mine, _ in levels} == {OFF, LOW, HIGH}
