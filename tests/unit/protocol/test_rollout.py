import math

import pytest

from edge_agent.errors import PeerError
from edge_agent.protocol.rollout import (
    MAX_RESTARTS,
    Commit,
    Gates,
    Health,
    RollBack,
    Rollout,
    Shadow,
    Stage,
    Trial,
    Verify,
)

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
    assert rollout.verified(1.0) == [Shadow("rooms", "new")]
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
    (effect,) = rollout.health(Health(**({f: getattr(GOOD, f) for f in Health.__slots__} | change)), 61.0)
    assert isinstance(effect, RollBack)
    assert effect.bundle == "old"
    assert gate in effect.reason
    assert rollout.stage is Stage.ROLLED_BACK


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
    assert isinstance(effects[0], RollBack)
    assert "99 steps, 100 expected" in effects[0].reason
    assert now < 1000.0


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
