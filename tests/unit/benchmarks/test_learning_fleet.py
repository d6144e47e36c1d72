"""The simulated fleet: its filter is the reference, its counts are whole, its pairs those of all paths."""

import itertools

import numpy as np
import pytest

from benchmarks.learning import counted, offices
from benchmarks.learning.offices import Chain
from edge_agent.engine import reference
from edge_agent.engine.arrays import model_arrays

SMALL = Chain(
    (np.array([[0.7, 0.1], [0.2, 0.3], [0.1, 0.6]]), np.array([[0.9, 0.4], [0.1, 0.6]])),
    np.array([[0.8, 0.3], [0.2, 0.7]]),
    np.array([0.5, 0.5]),
)
READINGS = np.array([[[0, 1], [2, 0], [1, 1], [0, 0]], [[1, 0], [1, 1], [2, 1], [0, 1]]])


def test_the_filter_is_the_reference() -> None:
    model = model_arrays(SMALL.A, [SMALL.B[..., np.newaxis]], None, [SMALL.D])
    beliefs, _ = offices.filtered(SMALL, READINGS)
    for sequence, found in zip(READINGS, beliefs, strict=True):
        prior = [SMALL.D]
        for reading, belief in zip(sequence, found, strict=True):
            (wanted,), _ = reference.infer(model, prior, reading.tolist())
            assert belief == pytest.approx(wanted)
            prior = reference.predict(model, [wanted], [0])


def test_smoothed_pairs_are_those_of_all_paths() -> None:
    beliefs, coming = offices.smoothed(SMALL, READINGS[:1])
    before, _ = offices.filtered(SMALL, READINGS[:1])
    pairs = SMALL.B * coming[0, 1:, :, np.newaxis] * before[0, :-1, np.newaxis, :]
    wanted, alone = np.zeros((3, 2, 2)), np.zeros((4, 2))
    for path in itertools.product(range(2), repeat=4):
        p = SMALL.D[path[0]]
        for t, state in enumerate(path):
            p *= np.prod([a[o, state] for a, o in zip(SMALL.A, READINGS[0, t], strict=True)])
            p *= SMALL.B[state, path[t - 1]] if t else 1.0
        for t, (a, b) in enumerate(itertools.pairwise(path)):
            wanted[t, b, a] += p
        alone[np.arange(4), list(path)] += p
    assert pairs == pytest.approx(wanted / wanted[0].sum())
    assert beliefs[0] == pytest.approx(alone / alone[0].sum())


@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_devices_count_whole_counts(mode: str) -> None:
    prior = Chain(tuple(5 * a for a in SMALL.A), 5 * SMALL.B, SMALL.D)
    sent = (
        counted.online(prior, READINGS)
        if mode == "online"
        else counted.frozen(prior, prior.expected, READINGS)
    )
    for one, sequence in zip(sent, READINGS, strict=True):
        assert one.whole
        assert one.masses == (4 << 12, 4 << 12, 3 << 24)
        assert one.counts("A_0").sum(axis=1) == pytest.approx(np.bincount(sequence[:, 0], minlength=3))
