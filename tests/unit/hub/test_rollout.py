import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.errors import ConfigError
from edge_hub.device_selector import select
from edge_hub.fleet import Device
from edge_hub.rollout import STATES, FleetRollout, Member, parse_shares, waves

NEW, OLD = "n" * 64, "o" * 64


def make(count: int = 10, shares: str = "10%,50%,100%", **fields: object) -> FleetRollout:
    names = [f"pi{n}" for n in range(count)]
    cut = waves(names, parse_shares(shares), "r")
    members = {name: Member() for name in names}
    return FleetRollout("r", NEW, "model", "rooms", cut, members, **fields)  # type: ignore[arg-type]


def send(rollout: FleetRollout, now: float = 0.0) -> list[str]:
    chosen = rollout.step(now)
    for name in chosen:
        rollout.sent(name, 7, OLD)
    return chosen


def report(rollout: FleetRollout, name: str, stage: str, version: int = 7, reason: str = "") -> None:
    bundle = NEW if stage == "committed" else OLD
    progress = {"bundle": NEW, "stage": stage, "reason": reason}
    rollout.reported(
        name,
        {"version": version, "populations": {"rooms": {"bundle": bundle}}, "rollouts": {"rooms": progress}},
    )


def test_a_wave_begins_when_the_one_before_has_committed() -> None:
    rollout = make()
    sizes = []
    while wave := send(rollout):
        sizes.append(len(wave))
        for name in wave:
            assert send(rollout) == []
            report(rollout, name, "trial")
            report(rollout, name, "committed")
    assert sizes == [1, 4, 5]
    assert (rollout.status, rollout.reason) == ("done", "")


def test_who_is_in_the_first_wave_changes_with_the_rollout() -> None:
    names = [f"pi{n}" for n in range(20)]
    first = {tuple(waves(order, [0.1, 1.0], id_)[0]) for id_ in "abcdef" for order in (names, names[::-1])}
    assert len(first) == 6  # in whatever order the devices are named, and not always the same
    assert [len(wave) for wave in waves(names, [0.01, 0.02, 1.0], "r")] == [1, 1, 18]


def test_a_failure_stops_it_and_sends_the_committed_back() -> None:
    rollout = make(shares="50%,100%")
    first, *others = send(rollout)
    for name in others:
        report(rollout, name, "committed")
    report(rollout, first, "rolled-back", reason="trial: missed_rate 1")
    assert rollout.step(1.0) == []
    assert rollout.status == "stopped"
    assert "missed_rate" in rollout.reason
    assert rollout.to_revert() == sorted(others, key=list(rollout.members).index)
    for name in others:
        rollout.reverted(name)
    assert rollout.to_revert() == []


def test_failures_that_were_allowed_do_not_stop_it() -> None:
    rollout = make(max_failures=1)
    (first,) = send(rollout)
    report(rollout, first, "rolled-back")
    assert len(send(rollout)) == 4


def test_a_refused_document_is_a_failure_and_old_reports_are_not() -> None:
    rollout = make(2, "100%")
    first, second = send(rollout)
    report(rollout, first, "rolled-back", version=6)  # from an earlier rollout
    assert rollout.members[first].state == "sent"
    rollout.reported(second, {"version": 3, "refused": {"version": 7, "reason": "expired"}})
    assert rollout.members[second].reason == "refused: expired"


def test_pause_holds_resume_goes_on_abort_ends() -> None:
    rollout = make()
    rollout.pause()
    assert send(rollout) == []
    rollout.resume()
    (first,) = send(rollout)
    rollout.abort()
    assert send(rollout) == []
    assert rollout.to_revert() == [first]


def test_silence_ends_it_after_a_while() -> None:
    rollout = make(patience=100.0)
    send(rollout, 0.0)
    rollout.step(99.0)
    assert rollout.status == "running"
    rollout.step(101.0)
    assert (rollout.status, "did not end" in rollout.reason) == ("stopped", True)


def test_a_hub_that_was_killed_goes_on_where_it_was() -> None:
    rollout = make()
    (first,) = send(rollout)
    again = FleetRollout.of_state(json.loads(json.dumps(rollout.state())))
    assert again == rollout
    report(again, first, "committed")
    assert len(send(again)) == 4


@given(st.integers(1, 200), st.lists(st.integers(1, 99), unique=True, max_size=5))
def test_waves_hold_every_device_once(count: int, percents: list[int]) -> None:
    shares = [p / 100 for p in sorted(percents)] + [1.0]
    names = [str(n) for n in range(count)]
    cut = waves(names, shares, "id")
    assert sorted(n for wave in cut for n in wave) == sorted(names)
    assert all(cut)
    assert cut == waves(names[::-1], shares, "id")


@pytest.mark.parametrize("text", ["", "50%", "50%,20%,100%", "0%,100%", "a,100%", "100%,100%"])
def test_shares_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--canary"):
        parse_shares(text)


def test_selectors() -> None:
    fleet = [Device(n, birth={"profile": p}) for n, p in (("a1", "pi5"), ("a2", "pi4"), ("b1", "pi5"))]
    assert [d.name for d in select(fleet, "all")] == ["a1", "a2", "b1"]
    assert [d.name for d in select(fleet, "a*")] == ["a1", "a2"]
    assert [d.name for d in select(fleet, "profile=pi5")] == ["a1", "b1"]
    assert [d.name for d in select(fleet, "b1,a2")] == ["a2", "b1"]
    for nobody in ("c", "profile=x", "", "a1,,b1"):
        with pytest.raises(ConfigError, match="--to"):
            select(fleet, nobody)


def all_in_one(count: int, **fields: object) -> tuple[FleetRollout, list[str]]:
    rollout = make(count, "100%", patience=100.0, **fields)
    return rollout, rollout.step(0.0)


def finish(rollout: FleetRollout, names: list[str]) -> None:
    for name in names:
        report(rollout, name, "committed")


def test_one_that_is_offline_is_parked_and_the_others_stay_committed() -> None:
    rollout, (away, *others) = all_in_one(50, max_failures=5)
    for name in (away, *others):
        rollout.sent(name, 7, OLD, 0.0, offline=name == away)
    finish(rollout, others)
    assert rollout.step(101.0, {away}) == []
    assert (rollout.status, rollout.succeeded, rollout.to_revert()) == ("done", True, [])
    assert (rollout.members[away].state, rollout.reason) == ("parked", "1 parked")
    assert sum(m.state == "committed" for m in rollout.members.values()) == 49


def test_who_was_parked_takes_part_when_it_returns_and_counts_as_every_other() -> None:
    rollout, (first, second, *others) = all_in_one(10, max_failures=1)
    for name in rollout.members:
        rollout.sent(name, 7, OLD, 0.0, offline=name in (first, second))
    finish(rollout, others)
    rollout.step(500.0, {second})
    assert (rollout.members[first].state, rollout.members[second].state) == ("sent", "parked")
    rollout.step(599.0, {second})
    assert rollout.status == "running"  # the one that is back has its time
    report(rollout, first, "rolled-back", reason="trial: missed_rate 1")
    rollout.step(600.0, {second})
    assert (rollout.status, rollout.reason) == ("done", "8 of 10 committed, expected 0.9 of them")
    rollout.resume()
    rollout.step(700.0)
    report(rollout, second, "committed")
    rollout.step(701.0)
    assert (rollout.status, rollout.succeeded) == ("done", True)


def test_silence_counts_as_a_failure_and_an_end_that_comes_late_counts_too() -> None:
    rollout, names = all_in_one(50, max_failures=5)
    for name in names:
        rollout.sent(name, 7, OLD, 0.0)
    finish(rollout, names[5:])
    rollout.step(101.0, {names[0]})
    assert rollout.members[names[0]].reason == "did not end within 100 s, and is offline"
    assert (rollout.status, rollout.succeeded, rollout.to_revert()) == ("done", True, [])
    report(rollout, names[0], "committed")
    assert rollout.members[names[0]].state == "committed"


@pytest.mark.parametrize("count", [2, 5, 50])
def test_a_healthy_fleet_is_never_sent_back_for_one_that_fell_silent(count: int) -> None:
    rollout, (silent, *others) = all_in_one(count)
    for name in (silent, *others):
        rollout.sent(name, 7, OLD, 0.0)
    finish(rollout, others)
    rollout.step(101.0)
    assert rollout.status == "stopped"
    assert rollout.to_revert() == [silent]  # it would begin with the bundle when it returns
    rollout.reverted(silent)
    assert rollout.to_revert() == []
    assert rollout.members[silent].reason == "did not end within 100 s; sent back"


@pytest.mark.parametrize(("min_success", "kept"), [(0.9, False), (0.8, True)])
def test_who_committed_is_sent_back_if_too_few_have(min_success: float, kept: bool) -> None:
    rollout, names = all_in_one(10, max_failures=1, min_success=min_success)
    for name in names:
        rollout.sent(name, 7, OLD, 0.0)
    finish(rollout, names[2:])
    for name in names[:2]:
        report(rollout, name, "rolled-back", reason="shadow: agreement 0.1")
    rollout.step(1.0)
    assert rollout.status == "stopped"
    assert sorted(rollout.to_revert()) == ([] if kept else sorted(names[2:]))


def test_waves_of_which_nobody_is_there_prove_nothing() -> None:
    rollout = make(10, "20%,100%", patience=100.0)
    canary = rollout.step(0.0)
    for name in canary:
        rollout.sent(name, 7, OLD, 0.0, offline=True)
    assert rollout.step(99.0, set(canary)) == []
    assert rollout.status == "running"
    again = FleetRollout.of_state(json.loads(json.dumps(rollout.state())))
    rollout.step(101.0, set(canary))
    assert (rollout.status, rollout.reason) == ("stopped", "wave 1: no device of it is online")
    assert sorted(rollout.to_revert()) == sorted(canary)
    again.step(99.0)  # they are back
    report(again, canary[0], "committed")
    report(again, canary[1], "committed")
    assert len(again.step(150.0)) == 8


def test_a_hub_that_was_away_does_not_take_its_own_silence_for_the_devices() -> None:
    rollout, names = all_in_one(10)
    for name in names:
        rollout.sent(name, 7, OLD, 0.0)
    again = FleetRollout.of_state(json.loads(json.dumps(rollout.state())))
    again.restart(10_000.0)
    again.step(10_099.0)
    assert again.status == "running"
    finish(again, names)
    again.step(10_101.0)
    assert (again.status, again.succeeded) == ("done", True)


def test_an_abort_sends_the_parked_back_too() -> None:
    rollout, (away, *others) = all_in_one(3)
    for name in (away, *others):
        rollout.sent(name, 7, OLD, 0.0, offline=name == away)
    finish(rollout, others[:1])
    rollout.abort()
    assert sorted(rollout.to_revert()) == sorted([away, *others])


def test_a_rollout_of_an_older_version_is_read() -> None:
    state = make().state()
    for key in ("min_success", "keep"):
        del state[key]
    for member in state["members"].values():
        for key in ("since", "silent", "stays"):
            del member[key]
    assert FleetRollout.of_state(json.loads(json.dumps(state))) == make()


events = st.lists(
    st.tuples(
        st.sampled_from(
            ["step", "commit", "fail", "refuse", "progress", "offline", "online", "pause", "resume"]
        ),
        st.integers(0, 9),
        st.floats(0.0, 60.0),
    ),
    max_size=60,
)


def in_state(rollout: FleetRollout, state: str) -> set[str]:
    return {name for name, member in rollout.members.items() if member.state == state}


def kept_by_right(rollout: FleetRollout) -> set[str]:
    """Return who committed, if a step has just stopped it and nine of ten of those that were tried have.

    Who commits later, after it was silent, doesn't change what was decided then.
    """
    committed = in_state(rollout, "committed")
    enough = len(committed) >= 9 * len(in_state(rollout, "failed"))
    return committed if rollout.status == "stopped" and enough else set()


STEPS = [("step", 0, seconds) for seconds in (0.0, 41.0, 60.0, 41.0)]


@given(events, st.integers(0, 3), st.booleans())
@example([*STEPS, ("commit", 7, 60.0)], 1, False)  # all are silent, then one commits: the last step stops it
def test_whatever_happens_every_device_has_a_state_and_a_reason_and_who_commits_is_kept_by_right(
    happened: list[tuple[str, int, float]], max_failures: int, abort: bool
) -> None:
    rollout = make(max_failures=max_failures, patience=100.0)
    offline: set[str] = set()
    kept: set[str] = set()
    now = 0.0
    for what, number, seconds in happened:
        name, now = f"pi{number}", now + seconds
        match what:
            case "step":
                running = rollout.status == "running"
                for chosen in rollout.step(now, offline):
                    rollout.sent(chosen, 7, OLD, now, chosen in offline)
                if running:
                    kept = kept_by_right(rollout)
            case "commit":
                report(rollout, name, "committed")
            case "fail":
                report(rollout, name, "rolled-back")
            case "refuse":
                rollout.reported(name, {"version": 0, "refused": {"version": 7}})
            case "progress":
                report(rollout, name, "trial")
            case "offline":
                offline.add(name)
            case "online":
                offline.discard(name)
            case "pause":
                rollout.pause()
            case "resume":
                rollout.resume()
        rollout = FleetRollout.of_state(json.loads(json.dumps(rollout.state())))
    if abort:
        rollout.abort()
    if rollout.status == "running" and rollout.step(now, offline) == []:
        assert len(in_state(rollout, "failed")) <= max_failures or rollout.status == "stopped"
        kept = kept_by_right(rollout)
    assert not kept & set(rollout.to_revert())
    for name in rollout.to_revert():
        rollout.reverted(name)
    assert rollout.to_revert() == []
    for outcome in rollout.outcomes().values():
        assert outcome["state"] in STATES
        assert outcome["reason"]
