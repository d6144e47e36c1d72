import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ConfigError
from edge_hub.device_selector import select
from edge_hub.fleet import Device
from edge_hub.rollout import FleetRollout, Member, parse_shares, waves

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
    assert rollout.status == "done"


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
