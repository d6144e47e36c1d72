"""What devices learned as one: no order changes a byte, one device changes little, the file is a model."""

import itertools
import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ModelError
from edge_agent.wire import learned
from edge_agent.wire.increments import Counts, Increments
from edge_hub.domain import held_out, learning
from edge_hub.domain.increment_sums import total
from edge_hub.domain.learning import SentEpoch

BUNDLE, OTHER = "ab" * 32, "cd" * 32
TENSORS = (Counts("A_0", (3, 4), 12), Counts("B_0", (2, 4, 4), 24), Counts("D_0", (4,), 12))
CELLS = 48
A = np.array([[0.5, 0.2, 0.1, 0.2], [0.3, 0.3, 0.1, 0.7], [0.2, 0.5, 0.8, 0.1]])
B = np.random.default_rng(5).dirichlet(np.ones(4), (4, 2)).transpose(2, 0, 1)
MODEL = {
    "A_0": A,
    "B_0": B,
    "D_0": np.full(4, 0.25),
    "learn": np.array('["D", "A", "B"]'),
    "pA_0": 5 * A,
    "pB_0": 4 * B,
    "pD_0": np.ones(4),
    "lr_pB": np.array(0.5),
    "trace_obs": np.zeros((3, 1), int),
}
SHAPES = learning.learning_shapes(MODEL)


def drawn(seed: int, ticks: int = 20) -> Increments:
    """What an engine counts in ``ticks`` ticks: whole counts of beliefs that sum to 2^12."""
    rng = np.random.default_rng(seed)
    a, b, d = np.zeros((3, 4), np.int64), np.zeros((2, 4, 4), np.int64), np.zeros(4, np.int64)
    before = rng.multinomial(1 << 12, rng.dirichlet(np.ones(4)))
    d += before
    for _ in range(ticks):
        after = rng.multinomial(1 << 12, rng.dirichlet(np.ones(4)))
        a[rng.integers(3)] += after
        b[rng.integers(2)] += np.outer(after, before)
        before = after
    return Increments(BUNDLE, TENSORS, ticks, np.concatenate([x.ravel() for x in (a, b, d)]))


def sent(device: str, epoch: int, increments: Increments, shift: int = 0, cells: int = 9) -> SentEpoch:
    """The epoch as pieces of few cells."""
    (body,) = learned.to_bodies(increments, "rooms", BUNDLE, epoch, shift)
    whole = learned.from_body(body)
    places = [whole.places[i : i + cells] for i in range(0, len(whole.places), cells)]
    head = whole.whole._replace(pieces=len(places))
    parts = [learned.Piece(head, number, part, increments.units[part]) for number, part in enumerate(places)]
    return SentEpoch(device, epoch, len(parts), parts)


def fleet(rng: np.random.Generator, devices: int) -> list[SentEpoch]:
    return [
        sent(f"d{n}", epoch, drawn(int(rng.integers(1 << 30)), int(rng.integers(1, 40))), int(epoch == 2))
        for n in range(devices)
        for epoch in range(1, int(rng.integers(2, 5)))
    ]


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(3, 12), st.booleans(), st.randoms())
def test_no_order_of_contributions_pieces_repetitions_changes_a_byte(seed, devices, robust, random) -> None:
    contributions = fleet(np.random.default_rng(seed), devices)
    wanted = learning.merged(learning.gather(contributions, SHAPES, BUNDLE), 3, robust).encoded()
    for _ in range(3):
        mixed = [one._replace(parts=[*one.parts, random.choice(one.parts)]) for one in contributions]
        for one in mixed:
            random.shuffle(one.parts)
        random.shuffle(mixed)
        found = learning.gather(mixed, SHAPES, BUNDLE)
        assert not found.refused
        assert learning.merged(found, 3, robust).encoded() == wanted


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 7]))
def test_no_number_of_threads_changes_a_byte(seed, threads) -> None:
    """Devices shared out among threads, which add what is theirs as they please."""
    rng = np.random.default_rng(seed)
    devices = list(learning.gather(fleet(rng, 9), SHAPES, BUNDLE).devices.values())
    wanted = total(devices).encoded()
    parts = [[one for i, one in enumerate(devices) if i % threads == n] for n in range(threads)]
    sums: list[Increments] = []
    workers = [threading.Thread(target=lambda part=part: sums.append(total(part))) for part in parts]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert total(sums).encoded() == wanted


def test_the_plain_sum_is_what_one_machine_would_have_counted() -> None:
    all_of = [drawn(n) for n in range(4)]
    gathered = learning.gather([sent(f"d{n}", 1, one) for n, one in enumerate(all_of)], SHAPES, BUNDLE)
    found = learning.merged(gathered, 3, robust=False)
    assert (found.units == sum(one.units for one in all_of)).all()


def test_counts_are_halved_before_an_epoch_that_says_so() -> None:
    one, two, three = drawn(1), drawn(2), drawn(3)
    gathered = learning.gather([sent("d", 3, three), sent("d", 1, one), sent("d", 2, two, 2)], SHAPES, BUNDLE)
    assert gathered.epochs == {"d": 3}
    assert (gathered.devices["d"].units == (one.units >> 2) + two.units + three.units).all()


def test_what_does_not_belong_is_named_and_stops_no_other() -> None:
    good = [sent(f"d{n}", 1, drawn(n)) for n in range(3)]
    missing = sent("e", 1, drawn(4))
    other = sent("f", 1, drawn(5))
    foreign = [p._replace(whole=p.whole._replace(bundle=OTHER)) for p in other.parts]
    coarse = Increments(BUNDLE, tuple(t._replace(bits=t.bits - 1) for t in TENSORS), 99, drawn(6).units)
    partial = drawn(7).units.copy()
    partial[0] += 1
    broken = Increments(BUNDLE, TENSORS, 30, partial)
    bad = [
        missing._replace(parts=missing.parts[1:]),
        other._replace(parts=foreign),
        sent("g", 1, coarse),
        sent("h", 1, broken),
    ]
    for order in ([*good, *bad], [*bad[::-1], *good[::-1]]):
        found = learning.gather(order, SHAPES, BUNDLE)
        assert set(found.devices) == {"d0", "d1", "d2"}
        starts = (
            f"e: epoch 1: {len(missing.parts) - 1} of {len(missing.parts)} pieces are here",
            "f: epoch 1: of model cdcdcdcdcdcd",
            "g: epoch 1: counts A_0 3x4 in 2^-11",
            "h: epoch 1: parts of counts",
        )
        assert all(line.startswith(start) for line, start in zip(found.refused, starts, strict=True))


def test_updates_that_add_up_beyond_integers_refuse_that_epoch_alone() -> None:
    full = Increments(BUNDLE, TENSORS, 1 << 38, np.eye(1, CELLS, dtype=np.int64)[0] << 12)
    found = learning.gather([sent("d", 1, full), sent("d", 2, drawn(1))], SHAPES, BUNDLE)
    assert found.devices["d"].updates == 1 << 38
    assert [line.partition(": ")[2].partition(":")[0] for line in found.refused] == ["epoch 2"]


@pytest.mark.parametrize(("devices", "least"), [(0, 3), (2, 3), (4, 5)])
def test_too_few_devices_are_refused(devices: int, least: int) -> None:
    gathered = learning.gather([sent(f"d{n}", 1, drawn(n)) for n in range(devices)], SHAPES, BUNDLE)
    for robust in (True, False):
        with pytest.raises(ModelError, match=f"{devices} devices contributed, expected {least} at least"):
            learning.merged(gathered, least, robust)


def test_a_device_with_a_hundred_times_the_counts_weighs_no_more_than_the_median() -> None:
    good = [sent(f"d{n}", 1, drawn(n, 20)) for n in range(9)]
    heavy = drawn(99, 20)
    many = Increments(BUNDLE, TENSORS, 2_000, 100 * heavy.units)
    gathered = learning.gather([*good, sent("poison", 1, many)], SHAPES, BUNDLE)
    assert learning.shares(gathered)["poison"] == pytest.approx(0.01)
    alone = learning.merged(learning.gather(good, SHAPES, BUNDLE), 3, robust=True)
    with_it = learning.merged(gathered, 3, robust=True)
    assert with_it.mass == pytest.approx(alone.mass * 10 / 9, rel=0.2)


def test_the_file_has_the_concentrations_and_what_they_make_likely() -> None:
    one = drawn(1)
    after = learning.applied(MODEL, one)
    assert "trace_obs" not in after
    gained = one.counts("B_0")
    for action, into, of in itertools.product(range(2), range(4), range(4)):
        wanted = 4 * B[into, of, action] + 0.5 * gained[action, into, of]
        assert after["pB_0"][into, of, action] == pytest.approx(wanted)
    assert after["pA_0"] == pytest.approx(5 * A + one.counts("A_0"))
    for name in ("A_0", "B_0", "D_0"):
        assert after[name] == pytest.approx(after[f"p{name}"] / after[f"p{name}"].sum(axis=0))
    assert (after["lr_pB"], json.loads(str(after["learn"]))) == (0.5, ["D", "A", "B"])


def test_changes_name_the_columns_that_moved_most() -> None:
    units = np.zeros(CELLS, np.int64)
    units[1] = 7 << 12  # A_0[0, 1]
    one = Increments(BUNDLE, TENSORS, 7, units)
    a, b, _ = learning.changes(MODEL, learning.applied(MODEL, one), one)
    new = (5 * A[:, 1] + [7, 0, 0]) / 12
    assert a.most == pytest.approx(float((new * np.log(new / A[:, 1])).sum()))
    assert (a.counts, a.largest[0]) == (7.0, ((1,), a.most))
    assert a.mean == pytest.approx(a.most / 4)
    assert b.most == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"learn": None}, "learn is missing"),
        ({"learn": np.array("A")}, "learn: not JSON"),
        ({"learn": np.array('["C"]')}, "learn: found"),
        ({"learn": np.array("[[]]")}, "learn: found"),
        ({"pA_0": None}, "pA_0 is missing"),
        ({"pA_0": np.ones((2, 2))}, r"pA_0: shape \(2, 2\), expected that of A_0"),
        ({"pA_0": -A}, "pA_0: expected counts from 0"),
        ({"pB_0": np.full((4, 4, 2), np.nan)}, "pB_0: expected counts from 0"),
    ],
)
def test_files_that_do_not_learn_are_refused(change, line: str) -> None:
    arrays = {name: value for name, value in (MODEL | change).items() if value is not None}
    with pytest.raises(ModelError, match=line):
        learning.learning_shapes(arrays)


def enumerated(model, obs, executed, restarts) -> float:
    """p(readings) as the sum over all paths of states."""
    out = 0.0
    cuts = [0, *sorted(restarts), len(obs)]
    for first, end in itertools.pairwise(cuts):
        likely = 0.0
        sizes = [len(model["D_0"]), len(model["D_1"])]
        for path in itertools.product(itertools.product(*map(range, sizes)), repeat=end - first):
            p = model["D_0"][path[0][0]] * model["D_1"][path[0][1]]
            for t, (x, y) in enumerate(path):
                if obs[first + t][0] >= 0:
                    p *= model["A_0"][obs[first + t][0], y, x]
                p *= model["A_1"][obs[first + t][1], x]
                if t:
                    u, v = executed[first + t - 1]
                    px, py = path[t - 1]
                    p *= model["B_0"][x, px, u] * model["B_1"][y, py, px, v]
            likely += p
        out += np.log(likely)
    return out / len(obs)


def test_the_likelihood_is_that_of_all_paths() -> None:
    rng = np.random.default_rng(3)
    model = {
        "A_0": np.moveaxis(rng.dirichlet(np.ones(3), (3, 2)), -1, 0),
        "A_1": rng.dirichlet(np.ones(2), 2).T,
        "B_0": np.moveaxis(rng.dirichlet(np.ones(2), (2, 2)), -1, 0),
        "B_1": np.moveaxis(rng.dirichlet(np.ones(3), (3, 2, 1)), -1, 0),
        "D_0": rng.dirichlet(np.ones(2)),
        "D_1": rng.dirichlet(np.ones(3)),
        "A_deps": np.array("[[1, 0], [0]]"),
        "B_deps": np.array("[[0], [1, 0]]"),
    }
    obs = np.array([[2, 0], [-1, 1], [0, 1], [1, 0], [2, 1]])
    executed = np.array([[1, 0], [0, 0], [1, 0], [1, 0], [0, 0]])
    restarts = np.array([3])
    found = held_out.log_likelihood(
        model, {"trace_obs": obs, "trace_executed": executed, "trace_restarts": restarts}
    )
    assert found == pytest.approx(enumerated(model, obs, executed, [3]))


@pytest.mark.parametrize(
    ("readings", "line"),
    [
        ({}, "trace_obs is missing"),
        ({"trace_obs": np.zeros((3, 2), int)}, r"trace_obs: int64 \(3, 2\), expected int \(readings, 1\)"),
        ({"trace_obs": np.full((3, 1), 3)}, "modality 0 has 3 to 3, expected -1 to 2"),
        ({"trace_obs": np.zeros((3, 1), int)}, "trace_executed is missing"),
        ({"trace_obs": np.zeros((1, 1), int), "trace_executed": np.full((1, 1), 2)}, "each an action"),
    ],
)
def test_readings_that_do_not_fit_are_refused(readings, line: str) -> None:
    with pytest.raises(ModelError, match=line):
        held_out.log_likelihood(MODEL, readings)


def test_a_model_of_too_many_joint_states_is_refused() -> None:
    big = {"A_0": np.ones((1, 2_001)), "B_0": np.ones((2_001, 1, 1))}
    with pytest.raises(ModelError, match="2001 joint states, expected at most 2000"):
        held_out.log_likelihood(big, {})


def test_increments_have_the_action_first() -> None:
    assert SHAPES == {"A_0": (3, 4), "B_0": (2, 4, 4), "D_0": (4,)}
