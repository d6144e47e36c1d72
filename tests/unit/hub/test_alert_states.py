"""The state machines of alerts against what a rule promises, over whole histories."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ConfigError
from edge_hub.domain import alert_notices, alert_rules, alert_states
from edge_hub.domain.alert_rules import DEFAULTS, Rule
from edge_hub.domain.alert_states import CLEARED, GROWN, OPEN, RAISED, AlertState, DeviceState

T = 1.7e9
HOT = Rule("hot", "health/temperature", 80.0, for_s=30.0, recover_s=60.0, recover_limit=75.0)


def states(rule: Rule, history: list[tuple[float, float | None]]) -> list[str]:
    """Return the state after each (seconds that passed, measure)."""
    member, now, found = DeviceState(), T, []
    for passed, value in history:
        now += passed
        member = alert_states.observe(rule, member, value, now)
        found.append(member.state)
    return found


def test_a_device_counts_after_for_and_no_longer_after_recover() -> None:
    history = [(0.0, 70.0), (10.0, 81.0), (29.0, 90.0), (1.0, 90.0)]
    assert states(HOT, history) == ["ok", "pending", "pending", "firing"]
    history += [(10.0, 78.0), (1.0, 75.0), (59.0, 60.0), (1.0, 60.0)]
    assert states(HOT, history)[4:] == ["firing", "clearing", "clearing", "ok"]


def test_between_the_limits_nothing_moves() -> None:
    raised = [(0.0, 81.0), (30.0, 81.0)]
    assert states(HOT, [*raised, *[(100.0, 76.0)] * 5])[2:] == ["firing"] * 5
    assert states(HOT, [(100.0, 80.0)] * 5) == ["ok"] * 5


def test_a_measure_that_is_not_known_changes_nothing() -> None:
    assert states(HOT, [(0.0, 81.0), (100.0, None), (1.0, 81.0)]) == ["pending", "pending", "firing"]
    assert states(HOT, [(0.0, None), (500.0, None)]) == ["ok", "ok"]


def test_without_times_a_rule_follows_its_measure() -> None:
    rule = Rule("low", "rss", 5.0, above=False, for_s=0.0, recover_s=0.0)
    assert states(rule, [(0.0, 4.0), (0.0, 5.0), (0.0, 4.9)]) == ["firing", "ok", "firing"]


def test_a_clock_that_was_set_back_begins_the_times_anew() -> None:
    assert states(HOT, [(0.0, 90.0), (-1000.0, 90.0), (29.0, 90.0), (1.0, 90.0)]) == [
        "pending",
        "pending",
        "pending",
        "firing",
    ]


def test_a_state_says_when_it_began_when_the_device_fired_and_by_which_measure() -> None:
    history = [
        (81.0, 0),
        (90.0, 30),
        (75.0, 40),
        (81.0, 50),
        (70.0, 60),
        (60.0, 120),
        (85.0, 130),
        (79.0, 140),
    ]
    expected = [
        DeviceState("pending", T, 0.0, 81.0),
        DeviceState("firing", T + 30, T + 30, 90.0),
        DeviceState("clearing", T + 40, T + 30, 75.0),
        DeviceState("firing", T + 50, T + 30, 81.0),
        DeviceState("clearing", T + 60, T + 30, 70.0),
        DeviceState("ok", T + 120, 0.0, 60.0),
        DeviceState("pending", T + 130, 0.0, 85.0),
        DeviceState("ok", T + 140, 0.0, 79.0),
    ]
    member = DeviceState()
    for (value, after), wanted in zip(history, expected, strict=True):
        member = alert_states.observe(HOT, member, value, T + after)
        assert member == wanted


def test_times_of_less_than_a_second_are_kept() -> None:
    rule = Rule("hot", "health/temperature", 80.0, for_s=1.0, recover_s=1.0)
    history = [(0.0, 81.0), (0.5, 81.0), (0.5, 81.0), (0.0, 70.0), (0.5, 70.0), (0.5, 70.0)]
    assert states(rule, history) == ["pending", "pending", "firing", "clearing", "clearing", "ok"]
    short = Rule("hot", "health/temperature", 80.0, for_s=0.5, recover_s=0.5)
    assert states(short, [(0.0, 81.0), (0.5, 81.0), (0.0, 70.0)]) == ["pending", "firing", "clearing"]


def test_a_clock_that_was_set_back_begins_the_recovery_anew() -> None:
    history = [(0.0, 90.0), (30.0, 90.0), (0.0, 60.0), (-1000.0, 60.0), (59.0, 60.0), (1.0, 60.0)]
    assert states(HOT, history) == ["pending", "firing", "clearing", "clearing", "clearing", "ok"]


VALUES = st.one_of(st.none(), st.floats(60.0, 100.0))
PASSED = st.integers(1, 80).map(lambda halves: halves / 2)  # exact beside Unix seconds
STEPS = st.lists(st.tuples(PASSED, VALUES), max_size=60)


@given(STEPS)
def test_whoever_begins_to_count_was_broken_for_so_long(steps: list[tuple[float, float | None]]) -> None:
    member, now = DeviceState(), T
    seen: list[tuple[float, float]] = []
    for passed, value in steps:
        now += passed
        if value is not None:
            seen.append((now, value))
        before, member = member, alert_states.observe(HOT, member, value, now)
        if member.counts and not before.counts:
            start = next(t for t, _ in reversed(seen) if t <= now - HOT.for_s)
            assert all(value > HOT.limit for t, value in seen if t >= start)
        if before.counts and not member.counts:
            start = next(t for t, _ in reversed(seen) if t <= now - HOT.recover_s)
            assert all(value <= 75.0 for t, value in seen if t >= start)


@given(st.lists(st.tuples(st.floats(0.1, 14.9), st.floats(0.1, 14.9)), min_size=1, max_size=50))
def test_flapping_faster_than_for_never_counts(times: list[tuple[float, float]]) -> None:
    history = [step for up, down in times for step in ((down, 95.0), (up, 60.0))]
    assert set(states(HOT, history)) <= {"ok", "pending"}


def notices(rule: Rule, counts: list[tuple[float, int]]) -> list[tuple[str, int]]:
    """Return the notices as devices come and go: (kind, devices told)."""
    alert: AlertState | None = None
    now, found = T, []
    for passed, devices in counts:
        now += passed
        alert, notice = alert_states.advance(rule, alert, devices, now)
        if notice:
            assert alert is not None
            found.append((notice, alert.devices))
        if alert is not None and alert.status == CLEARED:
            alert = None
    return found


def test_devices_that_follow_within_the_wait_are_in_the_same_notice() -> None:
    rule = Rule("silent", "silence", 300.0, wait_s=10.0, update_s=300.0)
    counts = [(0.0, 3), (5.0, 60), (5.0, 100), (5.0, 100), (400.0, 100), (0.0, 0)]
    assert notices(rule, counts) == [(RAISED, 100), (CLEARED, 0)]


def test_an_alert_keeps_its_times_and_the_most_devices_it_had() -> None:
    rule = Rule("silent", "silence", 300.0, wait_s=0.0, update_s=300.0)
    alert, notice = alert_states.advance(rule, None, 3, T)
    raised = AlertState(T, devices=3, most=3, told=3, told_at=T, notices=1)
    assert (alert, notice) == (raised, RAISED)
    alert, notice = alert_states.advance(rule, alert, 7, T + 300)
    grown = AlertState(T, devices=7, most=7, told=7, told_at=T + 300, notices=2)
    assert (alert, notice) == (grown, GROWN)
    alert, notice = alert_states.advance(rule, alert, 2, T + 400)
    assert (alert, notice) == (AlertState(T, OPEN, 2, 7, 7, T + 300, 2), "")
    ended = AlertState(T, CLEARED, 0, 7, 7, T + 500, 3, cleared=T + 500)
    assert alert_states.advance(rule, alert, 0, T + 500) == (ended, CLEARED)
    assert alert_states.advance(rule, None, 0, T) == (None, "")


def test_a_growing_alert_is_told_again_at_most_once_per_update() -> None:
    rule = Rule("silent", "silence", 300.0, wait_s=0.0, update_s=300.0)
    counts = [(0.0, 1), (100.0, 2), (100.0, 3), (100.0, 4), (100.0, 4), (200.0, 2), (300.0, 4)]
    assert notices(rule, counts) == [(RAISED, 1), (GROWN, 4)]


def test_what_was_never_told_ends_without_a_word() -> None:
    assert notices(Rule("r", "rss", 1.0, wait_s=10.0), [(0.0, 5), (9.0, 0), (0.0, 1), (9.0, 0)]) == []


def test_an_acknowledged_alert_is_told_again_only_at_its_end() -> None:
    rule = Rule("r", "rss", 1.0, wait_s=0.0, update_s=0.0)
    alert = AlertState(T, devices=1, most=1, told=1, told_at=T, notices=1, acknowledged=True)
    alert_, notice = alert_states.advance(rule, alert, 9, T + 1000)
    assert (alert_ and alert_.devices, notice) == (9, "")
    assert alert_states.advance(rule, alert_, 0, T + 2000)[1] == CLEARED


@given(st.lists(st.tuples(st.floats(0.0, 400.0), st.integers(0, 5)), max_size=60))
def test_notices_of_an_alert_are_numbered_and_alternate(counts: list[tuple[float, int]]) -> None:
    rule = Rule("r", "rss", 1.0, wait_s=10.0, update_s=300.0)
    alert: AlertState | None = None
    now = T
    for passed, devices in counts:
        now += passed
        before = alert
        alert, notice = alert_states.advance(rule, alert, devices, now)
        assert (alert is None) == (before is None and devices == 0)
        if alert is None:
            continue
        assert alert.notices == (before.notices if before else 0) + (notice != "")
        assert (notice == RAISED) == (alert.notices == 1 and notice != "")
        assert (alert.status == OPEN) == (devices > 0)
        if notice == GROWN and before is not None:
            assert devices > before.told
            assert now - before.told_at >= rule.update_s
        if alert.status == CLEARED:
            assert (notice == CLEARED) == (alert.notices > 0)
            alert = None


def test_a_counter_that_begins_anew_counts_from_0() -> None:
    assert alert_rules.increase([(0.0, 10.0), (1.0, 15.0), (2.0, 3.0), (3.0, 4.0)]) == 9.0
    assert alert_rules.increase([(0.0, 10.0)]) is None


@given(st.floats(-1e6, 1e6), st.floats(0.0, 1e9), st.integers(4, 40))
def test_the_trend_of_a_line_is_its_slope_per_hour(slope: float, start: float, points: int) -> None:
    line = [(T + 60.0 * n, start + slope * n / 60.0) for n in range(points)]
    found = alert_rules.trend(line, 60.0 * points)
    assert found is not None
    assert math.isclose(found, slope, rel_tol=1e-6, abs_tol=1e-2)


def test_a_trend_needs_points_over_half_the_window() -> None:
    line = [(60.0 * n, float(n)) for n in range(10)]
    assert alert_rules.trend(line, 1200.0) is None
    assert alert_rules.trend(line[:3], 60.0) is None


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": "Hot!"}, "as its name"),
        ({"measure": "sum"}, "expected measure of value"),
        ({"severity": "bad"}, "severity of warning"),
        ({"field": ""}, "field: expected"),
        ({"group": "label."}, "group: found 'label.'"),
        ({"limit": math.nan}, "limit: expected a finite number"),
        ({"recover_limit": 81.0}, "recover_limit: found 81, which breaks the rule"),
        ({"for_s": -1.0}, "for_s: expected 0 to"),
        ({"window_s": 60.0}, "window_s: expected none"),
        ({"measure": "trend"}, "window_s: expected 60 to"),
        ({"field": "silence", "measure": "trend", "window_s": 600.0}, "measure: expected value"),
        ({"field": "gaps"}, "measure: expected increase"),
        ({"filter": "a=b=c !"}, "filter: found"),
        ({"notify": ["a b"]}, "notify: found 'a b'"),
        ({"surprise": 1}, "found 'surprise', expected one of above"),
    ],
)
def test_a_rule_that_is_wrong_is_refused_in_one_line(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        alert_rules.parse(HOT.plain() | changed)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rule_goes_through_json_and_back() -> None:
    for rule in (HOT, *DEFAULTS):
        assert alert_rules.parse(rule.plain()) == rule


def test_a_notice_says_what_where_and_its_number() -> None:
    alert = AlertState(T, devices=12, most=12, notices=1)
    found = [(f"lab/d{n:02}", 301.25) for n in range(12)]
    text = alert_notices.notice(DEFAULTS[0], "lab", alert, RAISED, found, "ab12")
    assert text["title"] == "critical: silent, lab, 12 devices"
    lines = text["body"].splitlines()
    assert lines[0] == "silence > 300 for 30 s, lab"
    assert lines[1] == "lab/d00: 301.25 s"
    assert lines[-2:] == ["and 2 more", "alert ab12, notice 1"]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (HOT, "health/temperature > 80 for 30 s"),
        (Rule("low", "rss", 5.0, above=False, for_s=0.0), "rss < 5 for 0 s"),
        (
            Rule("gaps", "gaps", 2.0, measure="increase", window_s=60.0, for_s=30.0),
            "increase of gaps within 60 s > 2 for 30 s",
        ),
        (
            Rule("grows", "rss", 1e6, measure="trend", window_s=3600.0, for_s=900.0),
            "trend of rss within 3600 s > 1e+06 per hour for 900 s",
        ),
    ],
)
def test_a_rule_says_its_condition_in_words(rule: Rule, text: str) -> None:
    assert rule.text() == text


def test_two_readings_make_an_increase() -> None:
    assert alert_rules.increase([(0.0, 10.0), (1.0, 12.5)]) == 2.5
    assert alert_rules.increase([(0.0, 10.0), (1.0, 10.0), (2.0, 11.0)]) == 1.0
