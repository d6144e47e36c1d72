"""The governor: one level at a time, with a cause, quickly down, slowly up, without oscillation at a
threshold."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.profile import ThermalProfile
from edge_agent.runtime.governor.governor import DOWN_S, UP_S, BoardReadings, Governor

THERMAL = ThermalProfile(warm_c=70.0, hot_c=78.0, limit_c=85.0)


def run(governor: Governor, readings: BoardReadings, seconds: int, start: float = 0.0) -> list[str]:
    moves = [governor.look(readings, start + second) for second in range(seconds + 1)]
    return [f"{move.name}: {move.cause}" for move in moves if move is not None]


def test_the_rungs_shed_the_lowest_priority_first_and_hold_last() -> None:
    governor = Governor(THERMAL, [5, 1, 9, 5])
    assert governor.rungs == ("full", "plan shorter", "slow", "shed 1", "shed 5", "hold")
    suspended = []
    for rung in range(len(governor.rungs)):
        governor.rung = rung
        suspended.append([p for p in (1, 5, 9) if governor.suspended(p)])
    assert suspended == [[], [], [], [1], [1, 5], [1, 5, 9]]


@pytest.mark.parametrize(
    ("readings", "reached"),
    [
        (BoardReadings(temperature_c=71.0), "plan shorter"),
        (BoardReadings(temperature_c=75.0), "slow"),
        (BoardReadings(temperature_c=79.0), "shed 1"),
        (BoardReadings(temperature_c=86.0), "hold"),
        (BoardReadings(throttled=True), "slow"),
        (BoardReadings(own=0.95), "plan shorter"),
        (BoardReadings(own=0.3, waiting=50.0), "plan shorter"),
        (BoardReadings(own=0.3, waiting=90.0), "slow"),
        (BoardReadings(own=0.3, late=0.6), "plan shorter"),
        (BoardReadings(own=0.3, late=1.5), "slow"),
        (BoardReadings(own=0.3, missed=3.0), "slow"),
        (BoardReadings(own=0.05, waiting=100.0, late=2.0, missed=9.0), "full"),  # others keep the board busy
        (BoardReadings(missed=3.0), "slow"),
        (BoardReadings(pressure=50.0), "shed 1"),
        (BoardReadings(memory=1.01), "shed 1"),
        (BoardReadings(battery=0.15), "slow"),
        (BoardReadings(battery=0.04), "hold"),
        (
            BoardReadings(temperature_c=60.0, own=0.8, waiting=10.0, battery=0.9, pressure=0.0, memory=0.5),
            "full",
        ),
    ],
)
def test_each_sign_leads_to_its_rung_and_no_further(readings: BoardReadings, reached: str) -> None:
    governor = Governor(THERMAL, [1, 9])
    moves = run(governor, readings, 300)
    assert governor.name == reached
    assert len(moves) == governor.rung


def test_moves_carry_their_cause_and_come_back_one_by_one() -> None:
    governor = Governor(THERMAL, [1, 9])
    assert run(governor, BoardReadings(temperature_c=75.0), 60) == ["plan shorter: 75 °C", "slow: 75 °C"]
    up = run(governor, BoardReadings(temperature_c=40.0), int(3 * UP_S), start=100.0)
    assert up == ["plan shorter: 75 °C is over", "full: 75 °C is over"]
    assert governor.cause == ""


def test_a_short_peak_moves_nothing() -> None:
    governor = Governor(THERMAL, [5])
    assert governor.look(BoardReadings(temperature_c=80.0), 0.0) is None
    assert governor.look(BoardReadings(temperature_c=60.0), DOWN_S - 1) is None
    assert governor.look(BoardReadings(temperature_c=80.0), DOWN_S) is None
    assert governor.rung == 0


def test_the_device_stays_down_while_the_processor_is_awaited_though_its_own_share_fell() -> None:
    governor = Governor(THERMAL, [5])
    run(governor, BoardReadings(own=0.6, waiting=60.0), 10)
    assert governor.name == "plan shorter"
    assert governor.cause == "processor awaited 60 %, 60 % of the processor ours"
    assert run(governor, BoardReadings(own=0.05, waiting=60.0), 600, start=11.0) == []
    back = run(governor, BoardReadings(own=0.05, waiting=5.0), 120, start=700.0)
    assert [move.partition(":")[0] for move in back] == ["full"]


def test_swinging_about_a_threshold_does_not_move_the_device_to_and_fro() -> None:
    governor = Governor(THERMAL, [5])
    for second in range(3600):
        governor.look(BoardReadings(temperature_c=70.0 + 1.5 * math.sin(second / 20.0)), float(second))
    assert governor.moves == 1
    assert governor.name == "plan shorter"


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(30, 100), st.floats(0, 5)), max_size=80))
def test_the_rung_stays_on_the_ladder_and_moves_by_one(events: list[tuple[float, float, float]]) -> None:
    governor = Governor(THERMAL, [2, 4])
    now = 0.0
    for wait, temperature, missed in events:
        now += wait
        before = governor.rung
        move = governor.look(BoardReadings(temperature_c=temperature, missed=missed), now)
        assert 0 <= governor.rung <= governor.hold
        assert abs(governor.rung - before) == (0 if move is None else 1)
