import math
from dataclasses import fields, replace

import pytest

from edge_agent.errors import PeerError
from edge_agent.protocol.rollout import (
    MAX_RESTARTS,
    Commit,
    Gates,
    Health,
    RollBack,
    Rollout,
    Stage,
    StartShadow,
    Trial,
    Verify,
    breach,
)
from edge_agent.wire import bodies

GATES = Gates(shadow_seconds=60, trial_seconds=300, steps=100, agreement=0.5)
GOOD = Health(
    steps=1000, ticks=100, missed=0, contradictions=1, free_energy=1.0, old_free_energy=1.0, agreed=900
)


def make(old: str = "old") -> Rollout:
    return Rollout("rooms", "new", old, GATES)


def in_stage(stage: Stage) -> Rollout:
    rollout = make()
    rollout.fetched(0.0)
    rollout.verified(0.0)
    if stage is Stage.TRIAL:
        rollout.health(GOOD, 60.0)
    assert rollout.stage is stage
    return rollout


def test_the_way_of_a_good_bundle() -> None:
    rollout = make()
    assert rollout.fetched(0.0) == [Verify("rooms", "new")]
    assert rollout.verified(1.0) == [StartShadow("rooms", "new")]
    assert rollout.health(GOOD, 30.0) == []
    assert rollout.health(GOOD, 61.0) == [Trial("rooms", "new")]
    assert rollout.health(GOOD, 200.0) == []
    assert rollout.health(GOOD, 361.0) == [Commit("rooms", "new")]
    assert rollout.health(GOOD, 9e9) == []


def test_a_first_bundle_has_nothing_to_be_compared_with() -> None:
    rollout = make(old="")
    rollout.fetched(0.0)
    assert rollout.verified(0.0) == [Trial("rooms", "new")]


@pytest.mark.parametrize("stage", [Stage.SHADOWING, Stage.TRIAL])
@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"missed": 2}, "missed_rate"),
        ({"contradictions": 51}, "contradiction_rate"),
        ({"free_energy": 2.1}, "free_energy_rise"),
        ({"free_energy": math.nan}, "free_energy_rise"),
    ],
)
def test_a_broken_gate_ends_it_at_once(stage: Stage, change: dict[str, float], gate: str) -> None:
    rollout = in_stage(stage)
    (effect,) = rollout.health(replace(GOOD, **change), 61.0)  # type: ignore[arg-type]
    assert isinstance(effect, RollBack)
    assert effect.bundle == "old"
    assert gate in effect.reason
    assert rollout.stage is Stage.ROLLED_BACK


LIMITS = Gates(agreement=0.8, missed_rate=0.25, contradiction_rate=0.125, free_energy_rise=0.5, memory=5000)
AT_THE_LIMITS = Health(
    steps=16,
    ticks=4,
    missed=1,
    contradictions=2,
    free_energy=2.0,
    old_free_energy=1.5,
    agreed=13,
    memory=5000,
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"missed": 2}, "missed_rate 0.5, at most 0.25"),
        ({"ticks": 3}, "missed_rate 0.333, at most 0.25"),
        ({"ticks": 0}, "missed_rate 1, at most 0.25"),
        ({"contradictions": 3}, "contradiction_rate 0.188, at most 0.125"),
        ({"free_energy": 3.0}, "free_energy_rise 1.5 nats, at most 0.5"),
        ({"old_free_energy": 1.0}, "free_energy_rise 1 nats, at most 0.5"),
        ({"memory": 5001}, "memory 5001 bytes, at most 5000"),
        ({"agreed": 12}, "agreement 0.75, at least 0.8"),
    ],
)
def test_what_is_at_its_limit_is_kept_and_what_is_beyond_is_told_with_its_figures(
    change: dict[str, float], reason: str
) -> None:
    assert breach(LIMITS, AT_THE_LIMITS, Stage.SHADOWING) == ""
    assert breach(replace(LIMITS, agreement=13 / 16), AT_THE_LIMITS, Stage.SHADOWING) == ""
    assert breach(LIMITS, replace(AT_THE_LIMITS, **change), Stage.SHADOWING) == reason  # type: ignore[arg-type]


def test_without_a_limit_memory_is_left_to_the_plan() -> None:
    assert breach(replace(LIMITS, memory=0), AT_THE_LIMITS, Stage.TRIAL) == ""


def test_nothing_is_judged_before_the_first_step_however_few_a_verdict_needs() -> None:
    rollout = Rollout("rooms", "new", "old", replace(GATES, steps=0))
    rollout.fetched(0.0)
    rollout.verified(0.0)
    assert rollout.health(Health(0, 10, 0, 0, 0.0, 0.0), 1.0) == []
    (effect,) = rollout.health(Health(1, 11, 0, 0, 0.0, 0.0, agreed=0), 2.0)
    assert isinstance(effect, RollBack)
    assert effect.reason == "shadowing: agreement 0, at least 0.5"


def test_as_many_steps_as_a_verdict_needs_are_enough() -> None:
    rollout = in_stage(Stage.SHADOWING)
    assert isinstance(rollout.health(Health(100, 10, 10, 0, 1.0, 1.0, 100), 1.0)[0], RollBack)
    rollout = in_stage(Stage.SHADOWING)
    assert rollout.health(Health(100, 10, 0, 0, 1.0, 1.0, 100), 60.0) == [Trial("rooms", "new")]


def test_disagreement_counts_in_the_shadow_run_alone() -> None:
    other = Health(1000, 100, 0, 0, 1.0, 1.0, agreed=0)
    assert isinstance(in_stage(Stage.SHADOWING).health(other, 1.0)[0], RollBack)
    assert in_stage(Stage.TRIAL).health(other, 61.0) == []


def test_no_verdict_on_few_steps_and_no_waiting_for_ever() -> None:
    rollout = in_stage(Stage.SHADOWING)
    few = Health(99, 10, 10, 99, 9.0, 1.0)
    assert rollout.health(few, 100.0) == []
    now = 100.0
    while not (effects := rollout.tick(now)):
        assert rollout.deadline is not None
        now = rollout.deadline
    assert effects == [RollBack("rooms", "old", "shadowing: 99 steps, 100 expected")]
    assert 10 * 60.0 <= now <= 10 * 60.0 + 60.0 / 4
    assert rollout.deadline is None


def test_a_stage_of_no_length_waits_ten_seconds_for_its_steps() -> None:
    rollout = Rollout("rooms", "new", "", replace(GATES, trial_seconds=0))
    rollout.fetched(0.0)
    rollout.verified(5.0)
    assert rollout.tick(5.0) == []
    assert rollout.tick(14.9) == []
    assert rollout.deadline == pytest.approx(15.15)
    assert rollout.tick(15.15) == [RollBack("rooms", "", "trial: 0 steps, 100 expected")]


def test_a_new_stage_counts_its_own_steps() -> None:
    rollout = in_stage(Stage.TRIAL)
    assert rollout.deadline == 60.0 + 300.0
    assert rollout.tick(360.0) == []  # nobody has reported yet how the trial goes
    assert rollout.deadline == 435.0
    assert rollout.health(GOOD, 435.0) == [Commit("rooms", "new")]


def test_a_state_of_before_restarts_were_counted_goes_on() -> None:
    state = in_stage(Stage.SHADOWING).state()
    del state["restarts"]
    rollout = Rollout.of_state(state)
    assert rollout.resume(0.0) == []
    assert rollout.state()["restarts"] == 1


def test_restarts() -> None:
    for stage in (Stage.SHADOWING, Stage.TRIAL):
        again = Rollout.of_state(in_stage(stage).state())
        assert again.resume(0.0) == []
        assert again.fetched(0.0) == [Verify("rooms", "new")]
    rollout = in_stage(Stage.TRIAL)
    for _ in range(2):
        rollout = Rollout.of_state(rollout.state())
        effects = rollout.resume(0.0)
        if rollout.fetched(0.0):
            rollout.verified(0.0)
            rollout.health(GOOD, 60.0)
    assert isinstance(effects[0], RollBack)
    assert "restarted" in effects[0].reason


def test_late_news_changes_nothing() -> None:
    rollout = make()
    assert rollout.verified(0.0) == []
    assert rollout.health(GOOD, 0.0) == []
    rollout.failed("not wanted", 0.0)
    for news in (
        rollout.fetched(1.0),
        rollout.verified(1.0),
        rollout.failed("again", 1.0),
        rollout.tick(1e9),
    ):
        assert news == []
    assert rollout.reason == "not wanted"


def test_gates_by_name() -> None:
    assert Gates.of({"steps": 5, "unknown": "x"}).steps == 5
    for value in ("5", -1, math.inf, True):
        with pytest.raises(PeerError, match=r"gates\.steps"):
            Gates.of({"steps": value})


@pytest.mark.parametrize("stage", [Stage.VERIFYING, Stage.SHADOWING])
def test_a_bundle_that_takes_the_board_down_before_its_trial_is_given_up(stage: Stage) -> None:
    rollout = make()
    for _ in range(MAX_RESTARTS - 1):
        rollout.fetched(0.0)
        if stage is Stage.SHADOWING:
            rollout.verified(0.0)
        rollout = Rollout.of_state(rollout.state())
        assert rollout.resume(0.0) == []
    rollout.fetched(0.0)
    (effect,) = Rollout.of_state(rollout.state()).resume(0.0)
    assert isinstance(effect, RollBack)
    assert effect.bundle == "old"
    assert "restarted 5 times" in effect.reason


def test_the_gates_of_a_document_are_those_that_the_protocol_names() -> None:
    assert [field.name for field in fields(Gates)] == list(bodies.GATES)
    for name, field in bodies.GATES.items():
        assert field.meaning.endswith(f"; {getattr(Gates(), name):g} if not given")
