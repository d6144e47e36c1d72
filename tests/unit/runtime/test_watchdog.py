"""Only completed work feeds the watchdog."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.runtime.reporting.watchdog import FEEDS_PER_INTERVAL, STATUS_S, Watchdog


class Manager:
    """Notes what it is told."""

    def __init__(self, watchdog_interval: float | None = 8.0) -> None:
        self.watchdog_interval = watchdog_interval
        self.told: list[str] = []

    def ready(self) -> None:
        self.told.append("ready")

    def watchdog(self) -> None:
        self.told.append("watchdog")

    def status(self, text: str) -> None:
        self.told.append(f"status {text}")

    def stopping(self) -> None:
        self.told.append("stopping")


def test_turns_that_complete_nothing_do_not_feed_the_watchdog() -> None:
    manager = Manager()
    supervision = Watchdog(manager, lambda: "")
    for second in range(100):
        supervision.loop_ran(completed=0, now=float(second))
    assert "watchdog" not in manager.told
    supervision.loop_ran(completed=1, now=100.0)
    assert manager.told.count("watchdog") == 1
    for second in range(101, 200):
        supervision.loop_ran(completed=1, now=float(second))
    assert manager.told.count("watchdog") == 1


@given(st.lists(st.floats(0.001, 1.9), min_size=50, max_size=200))
def test_steady_work_feeds_it_in_time_and_not_too_often(pauses: list[float]) -> None:
    now, fed = 0.0, []
    supervision = Watchdog(manager := Manager(), lambda: "")
    for completed, pause in enumerate(pauses, start=1):
        now += pause
        before = len(manager.told)
        supervision.loop_ran(completed, now)
        if "watchdog" in manager.told[before:]:
            fed.append(now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(fed)]
    assert all(gap + 1e-9 >= 8.0 / FEEDS_PER_INTERVAL and gap < 8.0 / 2 for gap in gaps)


def test_the_line_of_status_is_told_when_it_changes() -> None:
    lines = iter(["full, office 2", "full, office 2", "slow, office 2"])
    manager = Manager(None)
    supervision = Watchdog(manager, lambda: next(lines))
    for turn in range(3):
        supervision.loop_ran(0, turn * STATUS_S)
        supervision.loop_ran(0, turn * STATUS_S + 0.1)
    assert manager.told == ["status full, office 2", "status slow, office 2"]


def test_start_and_stop_are_told() -> None:
    supervision = Watchdog(manager := Manager(), lambda: "")
    supervision.started()
    supervision.stopping()
    assert manager.told == ["ready", "stopping"]
