"""The algebra of evidence: order and repetition do not matter, fusing is exact, windows end."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ObservationError
from edge_agent.protocol.peers import codes
from edge_agent.protocol.peers.bayes_fusion import BayesFusion, Outcome
from edge_agent.wire.evidence import Base, Record
from tests.support.bayes_filter import BayesFilter
from tests.support.hidden_world import HiddenWorld

S = 4
STEADY = BayesFilter(0.8 * np.eye(S) + 0.05)
STEERED = BayesFilter(np.stack([np.eye(S), np.roll(np.eye(S), 1, axis=0)], axis=2) * 0.9 + 0.025)
PRIOR = np.full(S, 0.25)
START = 100
CONTROLLER = ("a", 0)

likelihoods = st.lists(st.integers(0, 255), min_size=S - 1, max_size=S - 1).map(lambda c: bytes([*c, 255]))
pieces = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.builds(
        Record, st.just(1), st.integers(0, 1), st.integers(START, START + 9), likelihoods, st.integers(-1, 1)
    ),
)


def fused(evidence: list, present: int = START + 9, model: BayesFilter = STEERED) -> BayesFusion:
    fusion = BayesFusion(model, PRIOR, START, window=32, controller=CONTROLLER)
    fusion.advance(present)
    for device, record in evidence:
        fusion.add(device, record)
    return fusion


def one_per_key(evidence: list) -> list:
    return list({(device, r.agent, r.tick): (device, r) for device, r in evidence}.values())


@given(st.lists(pieces, max_size=15), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(evidence: list, rng: random.Random) -> None:
    shuffled = evidence + rng.sample(evidence, len(evidence) // 2)
    rng.shuffle(shuffled)
    assert (fused(evidence).belief() == fused(shuffled).belief()).all()


@given(st.lists(pieces, max_size=15))
def test_late_evidence_is_folded_in_as_if_it_had_been_in_time(evidence: list) -> None:
    evidence = one_per_key(evidence)
    late = BayesFusion(STEERED, PRIOR, START, controller=CONTROLLER)
    for device, record in evidence:
        late.advance(START + 9)
        late.belief()
        late.add(device, record)
    prompt = BayesFusion(STEERED, PRIOR, START, controller=CONTROLLER)
    for tick in range(START, START + 10):
        prompt.advance(tick)
        for device, record in evidence:
            if record.tick == tick:
                assert prompt.add(device, record) is Outcome.NEW
        prompt.belief()
    assert (late.belief() == prompt.belief()).all()


@given(st.lists(pieces, max_size=12))
def test_the_belief_is_bayes_rule_with_everything(evidence: list) -> None:
    evidence = one_per_key(evidence)
    belief, action = PRIOR, -1
    for tick in range(START, START + 10):
        belief = STEERED.predict(belief, action)
        action = -1
        for device, record in evidence:
            if record.tick == tick:
                belief = belief * np.maximum(np.frombuffer(record.codes, np.uint8) / 255, 0.25 / 255) ** 4
                if (device, record.agent) == CONTROLLER:
                    action = record.action
        belief = belief / belief.sum()
    np.testing.assert_allclose(fused(evidence).belief(), belief, rtol=1e-4)


def test_a_known_action_moves_the_factor_and_an_unknown_one_may_be_any() -> None:
    sure = Record(1, 0, START, bytes([255, 0, 0, 0]), 1)
    assert fused([("a", sure)], START + 1).belief().argmax() == 1
    other = fused([("b", sure)], START + 1).belief()
    assert other[0] == pytest.approx(other[1])


def test_what_is_older_than_the_window_is_lost_and_counted() -> None:
    fusion = BayesFusion(STEADY, PRIOR, START, window=4)
    flat = bytes([255] * S)
    for tick in range(START, START + 6):
        fusion.advance(tick)
        fusion.add("me", Record(1, 0, tick, flat))
    assert fusion.base[0] == START + 1
    assert fusion.add("other", Record(1, 0, START + 1, flat)) is Outcome.LOST
    assert fusion.add("other", Record(1, 0, START + 2, flat)) is Outcome.NEW
    assert fusion.add("me", Record(1, 0, START + 1, flat)) is Outcome.KNOWN  # was counted in its time
    assert fusion.add("other", Record(1, 0, START + 1, flat)) is Outcome.LOST  # and counted once
    assert fusion.add("other", Record(1, 0, START + 6, flat)) is Outcome.NEW  # a clock a little ahead
    assert fusion.add("other", Record(1, 0, START + 7, flat)) is Outcome.EARLY
    assert fusion.add("other", Record(1, 0, START + 5, flat[:-1])) is Outcome.MISFIT
    assert fusion.lost == 1


def test_two_contents_under_one_key_end_alike_everywhere() -> None:
    one, two = (Record(1, 0, START, bytes(c)) for c in ([255, 9, 0, 0], [255, 8, 0, 0]))
    first, second = fused([("b", one)]), fused([("b", two)])
    assert first.add("b", two) is Outcome.CONFLICT
    assert second.add("b", one) is Outcome.CONFLICT
    assert (first.belief() == second.belief()).all()


def test_held_tells_which_ticks_are_there() -> None:
    flat = bytes([255] * S)
    fusion = fused([("b", Record(1, 0, START + k, flat)) for k in (1, 4)], START + 4)
    assert fusion.held("b", 0) & 0b11111 == 0b01001
    assert fusion.held("b", 0) >> 5 == 2**59 - 1  # nothing is wanted from before the window


@given(st.lists(st.floats(1e-9, 1), min_size=2, max_size=50))
def test_codes_are_quarter_powers_of_the_largest(values: list[float]) -> None:
    coded = codes.encode(values)
    assert list(coded) == [round(255 * (v / max(values)) ** 0.25) for v in values]
    decoded = codes.likelihood(codes.logarithms(coded))
    for value, found in zip(values, decoded, strict=True):
        if value / max(values) > 1e-4:
            assert found == pytest.approx(value / max(values), rel=0.1)


def test_codes_of_a_belief_add_up_to_one_and_differ_by_their_divergence() -> None:
    belief = codes.belief(bytes([255, 0, 51]))
    np.testing.assert_allclose(belief, np.array([1.0, 0.0, 0.2**4]) / (1 + 0.2**4))
    half, sure = np.array([0.5, 0.5]), np.array([1.0, 0.0])
    assert codes.divergence(half, half) == 0.0
    assert codes.divergence(sure, half) == pytest.approx(math.log(2))
    assert codes.divergence(half, sure) == pytest.approx(0.5 * math.log(0.5) + 0.5 * math.log(0.5 / 1e-16))


def test_a_source_whose_factor_has_other_states_now_begins_anew() -> None:
    encoder = codes.Encoder()
    encoder.encode([1.0, 0.37, 0.11])
    assert encoder.encode([1.0, 0.3]) == codes.encode([1.0, 0.3])


def test_the_table_of_logarithms_is_the_same_on_any_machine() -> None:
    # A value near the middle between two integers could round either way with another libm.
    exact = [codes.UNIT * 4 * math.log(max(code, 0.25) / 255) for code in range(256)]
    assert all(abs(value - math.floor(value) - 0.5) > 1e-4 for value in exact)
    assert codes.LOGARITHMS[255] == 0


def test_rounding_errors_that_repeat_cancel() -> None:
    worst = {"plain": 0.0, "carried": 0.0}
    for seed in (1, 2, 3):
        world = HiddenWorld(seed)
        encoders = [codes.Encoder() for _ in range(3)]
        exact = plain = carried = world.D
        for _ in range(200):
            world.move()
            seen = [world.see(sensor) for sensor in range(3)]
            exact, plain, carried = (world.filter.predict(b, -1) for b in (exact, plain, carried))
            for likelihood, encoder in zip(seen, encoders, strict=True):
                exact = exact * likelihood
                plain = plain * codes.likelihood(codes.logarithms(codes.encode(likelihood)))
                carried = carried * codes.likelihood(codes.logarithms(encoder.encode(likelihood)))
            exact, plain, carried = (b / b.sum() for b in (exact, plain, carried))
            worst["plain"] = max(worst["plain"], codes.divergence(exact, plain))
            worst["carried"] = max(worst["carried"], codes.divergence(exact, carried))
    assert worst["carried"] < 5e-4 < worst["plain"]


@pytest.mark.parametrize("bad", [[0.0, 0.0], [1.0, -0.1], [1.0, float("nan")], [[1.0]], []])
def test_what_is_no_likelihood_is_refused(bad: list) -> None:
    with pytest.raises(ObservationError):
        codes.encode(bad)


def test_what_was_announced_and_never_comes_is_lost_once() -> None:
    flat = bytes([255] * S)
    fusion = fused([("b", Record(1, 0, START + 3, flat))], START + 5)
    fusion.expect("b", 0, [START + 2, START + 3, START + 4])
    fusion.expect("b", 0, [START + 2])
    fusion.advance(START + 40)
    assert fusion.lost == 2
    assert fusion.add("b", Record(1, 0, START + 4, flat)) is Outcome.LOST
    assert fusion.add("b", Record(1, 0, START + 3, flat)) is Outcome.KNOWN
    assert fusion.lost == 2
    fusion.expect("b", 0, [START + 4, START + 99])  # before the window, and after the present
    fusion.advance(START + 120)
    assert fusion.lost == 2


@pytest.mark.parametrize("jump", [10**9, -(10**6)])
def test_a_clock_that_jumps_begins_anew_from_the_prior(jump: int) -> None:
    fusion = fused([("b", Record(1, 0, START + 9, bytes([255, 0, 0, 0])))], model=STEADY)
    fusion.advance(START + 9 + jump)
    assert fusion.base[0] >= START + 9 + jump - fusion.window
    np.testing.assert_allclose(fusion.belief(), STEADY.predict(PRIOR, -1))
    assert fusion.add("b", Record(1, 0, START + 9 + jump, bytes([255, 0, 0, 0]))) is Outcome.NEW


def steered() -> list[tuple[str, Record]]:
    """Return evidence whose controller moves the factor on at every tick."""
    moves = [("a", Record(1, 0, START + k, bytes([255] * S), 1)) for k in range(21)]
    return [*moves, ("b", Record(1, 0, START + 2, bytes([255, 9, 0, 0])))]


def test_a_member_that_starts_anew_goes_on_from_anothers_snapshot() -> None:
    there, here = fused(steered(), START + 20), BayesFusion(STEERED, PRIOR, START + 20, controller=CONTROLLER)
    here.advance(START + 20)
    snapshot = there.snapshot(7)
    assert (snapshot.channel, snapshot.tick) == (7, START + 4)  # the middle of the window, not its end
    assert here.adopt(snapshot)
    for device, record in steered():
        here.add(device, record)
    np.testing.assert_allclose(here.belief(), there.belief(), atol=0.01)
    assert there.belief().max() > 0.3  # there is something to agree on


def test_a_base_is_adopted_only_if_it_fits_and_reaches_further_back() -> None:
    fusion = BayesFusion(STEADY, PRIOR, START, window=8)
    fusion.advance(START + 3)
    sure = bytes([255, 0, 0, 0])
    for base in (
        Base(1, START - 2, sure[:-1]),  # of another factor
        Base(1, START - 1, sure),  # as far as ours
        Base(1, START - 6, sure),  # out of the window
    ):
        assert not fusion.adopt(base)
        np.testing.assert_allclose(fusion.belief(), 0.25)
    assert fusion.adopt(Base(1, START - 5, sure))
    assert fusion.base[0] == START - 5
    assert fusion.belief()[0] > 0.3


@pytest.mark.parametrize("window", [1, 64])
def test_for_evidence_in_time_the_length_of_the_window_does_not_matter(window: int) -> None:
    found = []
    for length in (window, 32):
        fusion = BayesFusion(STEERED, PRIOR, START, length, CONTROLLER)
        for tick in range(START, START + 21):
            fusion.advance(tick)
            for device, record in steered():
                if record.tick == tick:
                    fusion.add(device, record)
            found.append(fusion.belief())
    np.testing.assert_allclose(found[:21], found[21:])


@pytest.mark.parametrize("window", [0, 65])
def test_a_window_that_reports_cannot_describe_is_refused(window: int) -> None:
    with pytest.raises(ValueError, match=f"window: found {window}, expected 1 to 64"):
        BayesFusion(STEADY, PRIOR, START, window)


def test_no_more_sources_are_listened_to_than_agreed() -> None:
    fusion = BayesFusion(STEADY, PRIOR, START, window=4, sources=2)
    fusion.advance(START)
    one, other = (Record(1, 0, START, bytes(c)) for c in ([255, 9, 0, 0], [255, 8, 0, 0]))
    outcomes = [fusion.add(device, other) for device in ("a", "b", "c")]
    assert outcomes == [Outcome.NEW, Outcome.NEW, Outcome.MISFIT]
    assert fusion.add("a", one) is Outcome.CONFLICT  # those that are known are heard on
    assert fusion.sources() == {("a", 0), ("b", 0)}
    for device in ("d", "e", "f"):
        fusion.expect(device, 0, [START])
    fusion.advance(START + 4)
    assert fusion.lost == 2


@pytest.mark.parametrize(("behind", "lost"), [(5, 0), (4, 0), (3, 1), (0, 1), (-1, 1), (-2, 0)])
def test_only_what_the_window_will_leave_behind_can_be_lost(behind: int, lost: int) -> None:
    fusion = BayesFusion(STEADY, PRIOR, START - 8, window=4)
    fusion.advance(START)
    fusion.expect("b", 0, [START - behind])
    fusion.advance(START - behind + 3)
    assert fusion.lost == 0
    fusion.advance(START - behind + 4)
    assert fusion.lost == lost
    fusion.advance(START + 12)
    assert fusion.lost == lost
