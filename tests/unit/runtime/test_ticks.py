"""Ticks end on time, and a reading counts once, in the tick in which it was made."""

from __future__ import annotations

import bisect
import json
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.records import ActConfig, AvailabilityConfig, ObserveConfig
from edge_agent.runtime.population.channels import unix_time
from edge_agent.runtime.population.group import MAX_PASSED
from edge_agent.testing.clock import ManualClock

from .conftest import House

LOW, HIGH = b'{"co2": 700}', b'{"co2": 1500}'
TICK_S = 60.0
NOTHING = [-1, -1]


def co2(**more: Any) -> ObserveConfig:
    return ObserveConfig(
        **{"modality": "co2", "topic": "z/{agent}", "pointer": "/co2", "stale_s": 150.0} | more
    )


def house(step: str = "arrival", size: int = 1, **more: Any) -> House:
    fan = ActConfig(control="fan", topic="z/{agent}-fan/set")
    settings = {"observe": (co2(),), "act": (fan,), "rate_hz": 1.0 / TICK_S, "tick": "bundle"} | more
    made = House(size=size, clock=ManualClock(start=1000.0), step=step, **settings)
    made.start()
    return made


def ticks(made: House, agent: int = 0) -> list[list[int]]:
    """Return what an agent observed in each closed tick."""
    return made.group.history.select(agent)["observation"].tolist()


@pytest.mark.parametrize("step", ["rate", "arrival", "change"])
def test_a_reading_counts_in_its_tick_alone(step: str) -> None:
    made = house(step)
    for reading in (LOW, HIGH, None, LOW):
        made.after(10.0)
        if reading is not None:
            made.say("z/room-0", LOW)
            made.say("z/room-0", reading)
            made.say("z/room-0", reading)
        made.after(TICK_S - 10.0)
    assert ticks(made) == [[1, -1], [2, -1], NOTHING, [1, -1]]
    assert made.group.counters.ticks == 4


def test_an_arrival_decides_at_once_from_all_that_the_tick_has_shown() -> None:
    made = house(observe=(co2(), co2(modality="door", topic="d/{agent}", pointer="")), size=2)
    made.say("z/room-1", HIGH)
    made.after(5.0)
    made.say("d/room-1", b"1")
    assert made.model.decided == [([1], [[2, -1]]), ([1], [[2, 1]])]
    assert made.sent("z/room-1-fan/set") == [b"high"]
    assert made.model.stepped == []
    made.after(TICK_S)
    assert made.model.stepped == [2]  # everybody, once
    assert ticks(made, 1) == [[2, 1]]


def test_a_flood_decides_ten_times_a_second_at_most() -> None:
    made = house()
    for n in range(200):
        made.say("z/room-0", b'{"co2": %d}' % (500 + n))
        made.after(0.01)
    assert 18 <= len(made.model.decided) <= 22


@pytest.mark.parametrize(("silence", "seen"), [("unknown", NOTHING), ("unchanged", [2, -1])])
def test_silence_means_what_is_said_of_the_sensor(silence: str, seen: list[int]) -> None:
    made = house("rate", observe=(co2(silence=silence),))
    made.say("z/room-0", HIGH)
    made.after(5 * TICK_S)
    assert ticks(made) == [[2, -1], seen, NOTHING, NOTHING, NOTHING]  # 150 s: too old for the third


def test_what_arrives_after_a_tick_ended_belongs_to_the_next_however_late_the_loop_is() -> None:
    made = house()
    made.say("z/room-0", LOW)
    made.clock.advance(TICK_S + 1.0)  # the loop was busy
    made.say("z/room-0", HIGH)
    assert ticks(made) == [[1, -1]]
    made.after(TICK_S)
    assert ticks(made) == [[1, -1], [2, -1]]


def test_ticks_that_pass_are_made_up_with_what_was_observed_in_them() -> None:
    made = house(observe=(co2(stamp="/made"),))
    made.after(TICK_S)
    start = made.clock.time()
    made.clock.advance(3.5 * TICK_S)
    made.say("z/room-0", json.dumps({"co2": 1500, "made": start + 1.5 * TICK_S}).encode())
    status = made.status.status()["populations"]["rooms"]
    assert (status["passed"], status["ticks"], status["late"]) == (2, 4, 1)  # the loop has closed the tick
    assert made.model.passed == [[NOTHING]] * 2
    made.clock.advance((MAX_PASSED + 11) * TICK_S)
    made.after(1.0)
    status = made.status.status()["populations"]["rooms"]
    assert (status["passed"], status["lost"]) == (2 + MAX_PASSED, 10)


def test_a_suspended_population_makes_up_for_the_ticks_with_their_readings() -> None:
    from edge_agent.runtime.population.suspension import SuspendReason

    made = house()
    made.after(TICK_S)
    made.populations.suspend("rooms", SuspendReason.GOVERNOR)
    made.after(1.5 * TICK_S)
    made.say("z/room-0", HIGH)
    made.after(1.0 * TICK_S)
    made.populations.resume("rooms", SuspendReason.GOVERNOR)
    made.after(1.0 * TICK_S)
    assert made.model.passed == [[NOTHING], [[2, -1]]]
    assert ticks(made) == [NOTHING, NOTHING]
    assert made.group.counters.ticks == 4


def test_a_governor_that_slows_steps_makes_no_tick_longer() -> None:
    made = house("rate")
    made.schedule.slowed = 2.0
    made.schedule.renew("rooms")
    made.after(8 * TICK_S)
    assert made.group.counters.ticks == 8
    assert len(ticks(made)) == 4


def test_within_a_tick_the_model_is_not_told_what_stands_now() -> None:
    """Its prediction is from the action at the boundary."""
    act = ActConfig(control="fan", topic="z/{agent}-fan/set", dwell_s=20.0, safe="off")
    made = house(act=(act,), observe=(co2(stale_s=40.0),))
    made.say("z/room-0", LOW)
    made.say("z/room-0", HIGH)
    made.after(50.0)
    assert made.sent("z/room-0-fan/set") == [b"low", b"high", b"off"]  # waited; then fell silent
    assert made.model.executed == {}
    made.after(20.0)
    assert made.model.executed == {0: [0]}  # what stood when the tick was closed


READINGS = st.lists(st.tuples(st.integers(0, 57), st.sampled_from([500, 700, 1500])), min_size=1, max_size=6)


@given(st.data())
def test_any_order_and_repetition_of_a_tick_s_readings_is_the_same_tick(data: st.DataObject) -> None:
    readings = data.draw(READINGS)
    said = data.draw(st.permutations(readings + data.draw(st.lists(st.sampled_from(readings), max_size=4))))
    made = house(observe=(co2(stamp="/made"),))
    start = made.clock.time()
    made.after(58.0)
    for second, value in said:
        made.say("z/room-0", json.dumps({"co2": value, "made": start + second}).encode())
    made.after(0.5)
    newest = max(readings, key=lambda reading: (reading[0], reading[1]))[1]
    assert made.model.decided[-1][1] == [[[500, 700, 1500].index(newest), -1]]
    made.after(2.0)
    for second, value in said:  # late: the tick is closed
        made.say("z/room-0", json.dumps({"co2": 2000 - value, "made": start + second}).encode())
    made.after(TICK_S)
    assert ticks(made) == [[[500, 700, 1500].index(newest), -1], NOTHING]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1_700_000_000, 1.7e9),
        (1_700_000_000_500, 1_700_000_000.5),
        ("1700000000", 1.7e9),
        ("2023-11-14T22:13:20Z", 1.7e9),
        ("2023-11-14T23:13:20.500+01:00", 1_700_000_000.5),
    ],
)
def test_a_stamp_is_a_number_or_iso_8601(value: Any, seconds: float) -> None:
    assert unix_time(value) == seconds


@pytest.mark.parametrize("stamp", [None, True, "soon", -1, 1e300, [1], "nan"])
def test_a_reading_without_a_time_is_counted_and_ignored(stamp: Any) -> None:
    made = house(observe=(co2(stamp="/made"),))
    made.say("z/room-0", json.dumps({"co2": 700, "made": stamp}).encode())
    made.say("z/room-0", b'{"co2": 700}')
    assert made.status.status()["populations"]["rooms"]["faults"] == {"bad_stamp": 2}
    assert made.model.decided == []


def reading(value: float, second: float, start: float) -> bytes:
    return json.dumps({"co2": value, "made": start + second}).encode()


@pytest.mark.parametrize(
    ("reduce", "said", "seen"),
    [
        ("last", (500, 1500, 800), 1),
        ("mean", (500, 1500, 800), 1),  # 933 ppm
        ("mean", (500, 1500, 1200), 2),  # 1067 ppm
        ("mean", (599.9, 600.1), 1),
        ("max", (500, 1500, 800), 2),
        ("max", (500, 700, 550), 1),
    ],
)
@pytest.mark.parametrize("stamp", ["", "/made"])
def test_the_mean_or_the_largest_reading_stands_for_a_tick(
    reduce: str, said: tuple[float, ...], seen: int, stamp: str
) -> None:
    made = house("rate", observe=(co2(reduce=reduce, stamp=stamp),))
    start = made.clock.time()
    made.after(30.0)
    for second, value in enumerate(said):  # all of them before the loop's next turn
        made.broker.publish("z/room-0", reading(value, second, start), qos=0)
    made.after(TICK_S)
    made.say("z/room-0", reading(450, 70.0, start))
    made.after(2 * TICK_S)
    assert ticks(made) == [[seen, -1], [0, -1], NOTHING]  # a tick's readings are gone with it


@pytest.mark.parametrize("reduce", ["mean", "max", "last"])
@given(data=st.data())
def test_any_order_and_repetition_is_the_same_mean_and_largest(reduce: str, data: st.DataObject) -> None:
    numbers = st.floats(300, 1700)
    readings = data.draw(st.dictionaries(st.integers(0, 57), numbers, min_size=1, max_size=6))
    more = data.draw(st.lists(st.sampled_from(sorted(readings)), max_size=4))
    order = data.draw(st.permutations([*readings, *more]))
    made = house(observe=(co2(stamp="/made", reduce=reduce),))
    start = made.clock.time()
    made.after(58.0)
    for second in order:
        made.broker.publish("z/room-0", reading(readings[second], second, start), qos=0)
    made.after(2.5)
    for second in order:  # late: the tick is closed
        made.say("z/room-0", reading(1700, second, start))
    made.after(TICK_S)
    values = [readings[second] for second in sorted(readings)]
    stands = {"mean": statistics.fmean(values), "max": max(values), "last": values[-1]}[reduce]
    assert ticks(made) == [[bisect.bisect_right((600, 1000), stands), -1], NOTHING]


def test_of_a_flood_the_newest_readings_are_reduced() -> None:
    made = house("rate", observe=(co2(stamp="/made", reduce="max"),))
    start = made.clock.time()
    made.after(58.0)
    made.say("z/room-0", reading(1500, 0.0, start))
    for n in range(64):
        made.say("z/room-0", reading(700, 1.0 + n / 2, start))
    made.say("z/room-0", reading(1500, 0.5, start))
    made.after(2.0)
    assert ticks(made) == [[1, -1]]


def test_readings_of_an_offline_device_are_not_reduced() -> None:
    gone = AvailabilityConfig(topic="z/{agent}/availability", pointer="", value="online")
    made = house("rate", observe=(co2(reduce="mean", availability=(gone,)),))
    made.say("z/room-0", HIGH)
    made.say("z/room-0/availability", b"offline")
    made.say("z/room-0", LOW)
    made.after(TICK_S)
    assert ticks(made) == [[1, -1]]


def test_a_late_message_of_the_same_turn_does_not_replace_a_newer_reading() -> None:
    made = house("rate", observe=(co2(stamp="/made"),))
    start = made.clock.time()
    made.after(30.0)
    for second, value in ((20.0, 1500), (10.0, 700)):
        made.broker.publish("z/room-0", reading(value, second, start), qos=0)
    made.after(TICK_S)
    assert ticks(made) == [[2, -1]]


def test_a_number_that_is_too_large_to_reduce_is_a_fault() -> None:
    made = house("rate", observe=(co2(reduce="mean"),))
    made.say("z/room-0", b'{"co2": 1' + b"0" * 400 + b"}")
    assert made.status.status()["populations"]["rooms"]["faults"] == {"out_of_range": 1}
