"""The soak test's verdict on leaks, losses and missed deadlines."""

from dataclasses import replace
from typing import Any

from benchmarks.soak import verdict
from benchmarks.soak.hub import Stored
from benchmarks.soak.watch import Sample, curve, lives

MB = 1_000_000


def sample(t: float, pid: int = 1, **more: Any) -> Sample:
    rooms = {"ticks": int(10 * t), "missed": more.pop("missed", 0)}
    status = {
        "populations": {"rooms": rooms},
        "broker": {"state": more.pop("state", "online")},
        "checkpoint": {"failed": 0},
        "telemetry": {"failures": 0, "unreadable": 0},
    }
    given = {"rss": 45 * MB, "descriptors": ("socket",) * 12, "written": 0, "late": False} | more
    return Sample(t, pid, status=status, **given)


def test_a_slow_leak_shows_in_a_long_life_and_a_jump_does_not() -> None:
    leak = [sample(t, rss=45 * MB + int(t * 10 * MB / 3600)) for t in range(1200)]
    unit, slope, limit = verdict.growth(leak)
    assert (unit, round(slope, 1)) == ("MB per hour", 10.0)
    assert slope > limit
    jump = [sample(t, rss=45 * MB + (2 * MB if t > 500 else 0)) for t in range(1200)]
    _, slope, limit = verdict.growth(jump)
    assert slope <= limit


def test_in_a_short_life_the_last_quarter_is_held_against_the_first() -> None:
    assert verdict.growth([sample(t, rss=45 * MB + t * 100_000) for t in range(40)])[0] == "MB"
    _, grown, limit = verdict.growth([sample(t, rss=45 * MB + t * 100_000) for t in range(40)])
    assert grown > limit
    assert verdict.growth([sample(t) for t in range(40)])[1] == 0.0


def test_a_life_is_as_long_as_it_ran_not_as_the_clock_says() -> None:
    stopped = [sample(t + (600 if t > 10 else 0), rss=(44 + min(t, 30) // 10) * MB) for t in range(100)]
    assert verdict.growth(stopped)[0] == "MB"


def test_growth_is_not_reckoned_across_a_restart() -> None:
    restarted = [sample(t, pid=1 + t // 30, rss=(45 + 5 * (t // 30)) * MB) for t in range(60)]
    assert [len(life) for life in lives(restarted)] == [30, 30]
    assert verdict.growth(restarted)[1] == 0.0


def test_what_was_missed_while_the_machine_stood_still_is_told_apart() -> None:
    found = [sample(0), sample(1, missed=2), sample(5, missed=40, late=True), sample(6, missed=41)]
    assert verdict.missed(found) == (60, 41, 38)


def test_one_deadline_in_a_thousand_may_be_missed() -> None:
    def held(missed: int) -> bool | None:
        found = [sample(t, missed=missed if t > 5 else 0) for t in range(1001)]
        (check,) = (
            line for line in verdict.checks_of("a", found, False) if line.what == "a: deadlines missed"
        )
        return check.holds

    assert held(10)
    assert not held(11)


def test_counters_of_a_new_life_start_anew() -> None:
    found = [sample(0), sample(1, missed=3), sample(2, pid=2, missed=1), sample(3, pid=2, missed=1)]
    assert verdict.missed(found)[1] == 4


def test_descriptors_count_while_online_only() -> None:
    steady = [sample(t) for t in range(40)]
    away = [sample(t, descriptors=("socket",) * 30, state="waiting") for t in range(40, 80)]
    assert verdict.descriptors(steady + away) is None, "40 samples are too few to judge"
    assert verdict.descriptors(steady + away + [sample(t) for t in range(80, 120)]) == (0, [])


def test_descriptors_that_stay_open_are_named() -> None:
    leak = [sample(t, descriptors=("socket",) * 12 + ("/a.eab",) * (t // 10)) for t in range(80)]
    assert verdict.descriptors(leak) == (1, ["/a.eab"])
    (line,) = (
        c for c in verdict.checks_of("a", leak[:40] + leak[-1:] * 40, False) if "descriptors" in c.what
    )
    assert (line.found, line.holds) == ("+4: /a.eab, /a.eab, /a.eab, /a.eab", False)


def test_what_a_trial_keeps_open_is_no_leak() -> None:
    tried = [sample(t, descriptors=("socket",) * (15 if 20 <= t < 50 else 12)) for t in range(100)]
    assert verdict.descriptors(tried) == (-3, [])
    (line,) = (c for c in verdict.checks_of("a", tried[10:30], False) if "descriptors" in c.what)
    assert (line.found, line.holds) == ("no life of 60 s", None), "it ends while a bundle is tried"


def test_what_was_written_before_a_kill_counts_too() -> None:
    found = [sample(t, pid=1 + t // 60, written=(t % 60) * MB // 60) for t in range(120)]
    assert round(verdict.written_per_minute(found), 1) == 1.0


def row(device: str, **more: int | str) -> dict[str, Any]:
    return {"device": device, "first": 1, "last": 9, "messages": 9, "thinned": 0, "gaps": 0} | more


def test_loss_is_a_gap_a_missing_beginning_or_nothing_at_all() -> None:
    def lost(*rows: dict[str, Any]) -> bool | None:
        return verdict.loss(rows, ["a"])[0].holds

    assert lost(row("a"))
    assert not lost(row("a", gaps=1))
    assert not lost(row("a", first=3))
    assert not lost(row("b"))


def test_the_curve_of_a_daemon_breaks_where_it_was_killed() -> None:
    killed = [sample(60 + t, pid=1 + t // 30) for t in range(60)]
    assert [len(piece) for piece in curve(killed, 60.0)] == [3, 3]
    assert curve(killed, 60.0)[1][0] == (0.5, 45.0)


def test_the_hub_is_judged_by_memory_tables_alerts_and_its_log() -> None:
    def broken(
        rss: int = 80 * MB, size: int = 890_000, alerts: tuple[str, ...] = ("cleared",), log: str = ""
    ) -> list[str]:
        samples = [sample(t, rss=80 * MB + (rss - 80 * MB) * t // 100) for t in range(100)]
        stored = Stored(messages=1000, payload=200_000, size=size)
        found = verdict.hub_checks(
            {"worker": samples}, stored, [{"status": status} for status in alerts], log
        )
        return [check.what for check in found if check.holds is False]

    assert broken() == []
    assert broken(rss=140 * MB) == ["worker: growth of resident memory"]
    assert broken(size=910_000) == ["hub: the telemetry's tables"]
    assert broken(alerts=()) == ["hub: alerts raised"]
    assert broken(alerts=("cleared", "open")) == ["hub: alerts that did not clear"]
    assert broken(log="Traceback (most recent call last):\n") == ["hub: tracebacks in its log"]


def test_a_process_of_the_hub_that_lived_for_seconds_is_not_judged_by_what_it_loads() -> None:
    loads = [sample(t, rss=(50 + min(t, 20)) * MB) for t in range(30)]
    line = verdict.hub_checks({"worker": loads}, Stored(1, 1, 1), [{"status": "cleared"}], "")[0]
    assert (line.found, line.holds) == ("no life of 60 s", None)


def test_a_worker_may_load_numpy_in_the_middle_of_its_life() -> None:
    loads = [sample(t, rss=(77 if t > 70 else 63) * MB) for t in range(100)]
    line = verdict.hub_checks({"worker": loads}, Stored(1, 1, 1), [{"status": "cleared"}], "")[0]
    assert (line.found, line.limit, line.holds) == ("+14.00 MB", "25", True)


def test_writes_may_fail_on_a_disk_that_was_full() -> None:
    status = sample(0).status | {"checkpoint": {"failed": 3}}
    found = [replace(sample(t), status=status) for t in range(10)]

    def holds(filled: bool) -> bool | None:
        (line,) = (c for c in verdict.checks_of("a", found, filled) if c.what == "a: writes that failed")
        return line.holds

    assert (holds(False), holds(True)) == (False, None)
