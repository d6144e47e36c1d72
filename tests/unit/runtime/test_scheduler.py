"""Deadlines keep their phase, missed periods are counted and not made up, requests keep their distance."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.runtime.scheduler import Scheduler


@given(st.floats(0.01, 10), st.lists(st.floats(0.0, 30), max_size=40))
def test_every_period_is_run_or_counted_as_missed(period: float, waits: list[float]) -> None:
    scheduler = Scheduler()
    task = scheduler.every("t", period, 0.0)
    now = 0.0
    for wait in waits:
        now += wait
        scheduler.due(now)
        assert task.deadline > now
        assert abs(task.deadline / period - round(task.deadline / period)) < 1e-6
    passed = round(task.deadline / period) - 1
    assert task.runs + task.missed == passed


@given(st.floats(0.01, 1.0), st.lists(st.tuples(st.floats(0, 0.5), st.booleans()), max_size=60))
def test_requests_are_served_no_closer_than_the_interval(
    interval: float, events: list[tuple[float, bool]]
) -> None:
    scheduler = Scheduler()
    scheduler.on_request("t", interval, 0.0)
    now, ran, asked = 0.0, [], False
    for wait, request in events:
        now += wait
        if request:
            scheduler.request("t", now)
            asked = True
        if scheduler.due(now):
            ran.append(now)
            asked = False
        assert (scheduler.deadline < math.inf) == asked
    assert all(later - earlier >= interval - 1e-9 for earlier, later in pairwise(ran))


def test_the_earliest_deadline_comes_first() -> None:
    scheduler = Scheduler()
    scheduler.every("slow", 3.0, 0.0)
    scheduler.every("quick", 2.0, 0.0)
    assert [task.name for task in scheduler.due(3.5)] == ["quick", "slow"]
    assert scheduler.deadline == 4.0


def test_a_new_pace_counts_from_now() -> None:
    scheduler = Scheduler()
    task = scheduler.every("t", 1.0, 0.0)
    scheduler.set_period("t", 4.0, 0.5)
    assert task.deadline == 4.5
    scheduler.set_period("t", 4.0, 2.0)
    assert task.deadline == 4.5
