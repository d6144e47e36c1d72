"""Rooms keep the mass balance, return what was measured when nothing is done, and score fairly."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import air
import evaluate
import readings
from controllers import OnOff, Schedule, Threshold
from rooms import OBSERVED, Rooms

DATA = readings.load(readings.DATA)


@given(
    st.floats(400.0, 5000.0),
    st.floats(0.0, 5000.0),
    st.floats(0.05, 20.0),
    st.floats(0.01, 3.0),
    st.integers(1, 9),
)
def test_mixing_is_the_exponential_and_steps_compose(
    co2: float, source: float, rate: float, hours: float, parts: int
) -> None:
    start = np.array([co2])
    steady = air.OUTDOOR_PPM + source / rate
    assert air.mix(start, source, rate, hours)[0] == pytest.approx(
        steady + (co2 - steady) * math.exp(-rate * hours)
    )
    many = start
    for _ in range(parts):
        many = air.mix(many, source, rate, hours / parts)
    assert many[0] == pytest.approx(air.mix(start, source, rate, hours)[0])


def test_mixing_solves_the_balance() -> None:
    # Against the differential equation itself, integrated in small steps.
    co2, source, rate, steps = 900.0, 700.0, 2.2, 20_000
    walked = co2
    for _ in range(steps):
        walked += (source - rate * (walked - air.OUTDOOR_PPM)) / steps
    assert air.mix(np.array([co2]), source, rate, 1.0)[0] == pytest.approx(walked, abs=0.05)


def test_leakage_is_found_in_a_decay_made_for_it() -> None:
    hours = np.arange(40) * 0.25
    co2 = air.OUTDOOR_PPM + 1500.0 * np.exp(-0.83 * hours)
    assert air.leakage_rate(co2, np.zeros(40), 0.25) == pytest.approx(0.83)


@given(st.lists(st.floats(402.0, 4000.0), min_size=2, max_size=30), st.floats(0.1, 3.0))
def test_an_explanation_reproduces_the_readings(co2: list[float], leakage: float) -> None:
    series = np.array(co2)
    source, rate = air.explain(series, leakage, 0.25)
    assert (source >= 0.0).all()
    assert (rate >= leakage).all()
    np.testing.assert_allclose(air.mix(series[:-1], source, rate, 0.25), series[1:], rtol=1e-9)


def test_an_unventilated_room_like_the_office_replays_the_readings() -> None:
    rooms = Rooms(DATA, 2, alike=True)
    index = int(np.flatnonzero(DATA.times == rooms.now)[0])
    while True:
        seen = dict(zip(OBSERVED, rooms.observe()[1], strict=True))
        for name, values in DATA.values.items():
            assert seen[name] == pytest.approx(values[index], rel=1e-9), (name, rooms.now)
        if rooms.over:
            break
        rooms.act(np.zeros(2, int))
        index += 1


def test_the_same_seed_gives_the_same_week_and_another_seed_another() -> None:
    def week(seed: int) -> np.ndarray:
        rooms, rule, course = Rooms(DATA, 5, seed), Threshold(), []
        while not rooms.over:
            course.append(rooms.co2)
            rooms.act(rule.decide(rooms.observe(), rooms.now))
        return np.array(course)

    np.testing.assert_array_equal(week(3), week(3))
    assert not np.array_equal(week(3), week(4))


def test_more_air_is_never_worse_and_costs_the_power_of_its_level() -> None:
    scores = []
    for level in range(3):
        rooms = Rooms(DATA, 8, 1)
        while not rooms.over:
            rooms.act(np.full(8, level))
        scores.append(rooms.score())
        hours = (len(rooms.times) - 1) * DATA.hours
        watts = air.FAN_WATTS[level] * rooms.volume_m3.mean() / air.VOLUME_M3
        assert scores[-1].kwh == pytest.approx(watts * hours / 1000.0)
    assert scores[0].comfort < scores[1].comfort < scores[2].comfort <= 1.0
    assert scores[0].mean_ppm > scores[1].mean_ppm > scores[2].mean_ppm


def test_the_score_of_the_office_itself_is_a_count_of_its_readings() -> None:
    rooms = Rooms(DATA, 1, alike=True)
    while not rooms.over:
        rooms.act(np.zeros(1, int))
    counted = np.isin(DATA.times, rooms.times[1:]) & (DATA.values["light"] >= 365.0)
    ppm = DATA.values["co2"][counted]
    assert rooms.score().comfort == pytest.approx((ppm <= 1000.0).mean())
    assert rooms.score().category["II"] == pytest.approx((ppm <= 1200.0).mean())
    since = np.datetime64("2015-02-09")
    late = DATA.values["co2"][counted & (DATA.times > since)]
    assert rooms.score(since).mean_ppm == pytest.approx(late.mean())


@pytest.mark.parametrize("levels", [np.zeros(3, int), np.full(2, 3), np.full(2, -1)])
def test_a_wrong_action_changes_nothing(levels: np.ndarray) -> None:
    rooms = Rooms(DATA, 2)
    with pytest.raises(ValueError, match="levels"):
        rooms.act(levels)
    assert rooms.tick == 0


def _observe(co2: float, level: int) -> np.ndarray:
    return np.array([[co2, 0.0, 20.0, 30.0, float(level)]])


def test_rules() -> None:
    friday, saturday = np.datetime64("2015-02-06T09:00:00"), np.datetime64("2015-02-07T09:00:00")
    assert Schedule().decide(_observe(0, 0), friday)[0] == 2
    assert Schedule().decide(_observe(0, 0), np.datetime64("2015-02-06T18:00:00"))[0] == 0
    assert Schedule().decide(_observe(0, 0), saturday)[0] == 0
    stages = [
        (790, 0, 0),
        (810, 0, 1),
        (790, 1, 1),
        (690, 1, 0),
        (1010, 1, 2),
        (950, 2, 2),
        (890, 2, 1),
        (650, 2, 0),
    ]
    for co2, before, after in stages:
        assert Threshold().decide(_observe(co2, before), friday)[0] == after, (co2, before)
    for co2, before, after in [(990, 0, 0), (1010, 0, 2), (990, 2, 2), (790, 2, 0)]:
        assert OnOff().decide(_observe(co2, before), friday)[0] == after, (co2, before)


def test_a_controller_runs_to_the_last_reading() -> None:
    rooms = Rooms(DATA, 3)
    evaluate.run(rooms, Threshold())
    assert rooms.over
    with pytest.raises(ValueError, match="end"):
        rooms.act(np.zeros(3, int))
