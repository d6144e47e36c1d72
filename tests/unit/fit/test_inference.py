"""Exact inference of the fit: against sums over all paths, hmmlearn, and the device's filter."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hmmlearn.hmm import CategoricalHMM

from edge_agent import Model
from edge_agent.engine import reference
from edge_convert.fit import chain as chains
from edge_convert.fit.bins import BinnedSegment
from edge_convert.fit.estimate import log_likelihood, make_chain
from tests.support.fit_worlds import brute_force, distributions, random_parameters, structure, toml

CONTROLLED = """
tick_seconds = 60
[[control]]
name = "heater"
values = ["off", "on"]
[[factor]]
name = "room"
states = ["cold", "good", "warm"]
control = "heater"
[[modality]]
name = "temperature"
sees = ["room"]
"""
DEPENDENT = """
tick_seconds = 60
[[control]]
name = "fan"
values = ["off", "on"]
[[control]]
name = "blind"
values = ["up", "down", "half"]
[[factor]]
name = "air"
states = ["fresh", "stale"]
depends_on = ["people"]
control = "fan"
[[factor]]
name = "people"
states = ["none", "some"]
[[factor]]
name = "light"
states = ["dark", "dim", "bright"]
control = "blind"
[[modality]]
name = "co2"
sees = ["air"]
[[modality]]
name = "comfort"
sees = ["people", "air"]
[[modality]]
name = "lux"
sees = ["light"]
"""


@pytest.mark.parametrize(
    ("text", "sizes", "ticks"), [(CONTROLLED, [4], 5), (DEPENDENT, [3, 2, 3], 3)], ids=["one", "three"]
)
@pytest.mark.parametrize("seed", range(3))
def test_likelihoods_are_the_sums_over_all_paths(
    tmp_path: Path, text: str, sizes: list[int], ticks: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    template = toml(tmp_path / "t.toml", text)
    plan = structure(template)
    parameters = random_parameters(random, template, sizes)
    segments = [
        BinnedSegment(
            np.stack([random.integers(-1, size, length) for size in sizes], axis=1),
            np.stack([random.integers(0, n, length) for n in plan.actions], axis=1),
            np.empty((length, 0)),
        )
        for length in (ticks - 1, ticks, 1)
    ]
    expected = sum(np.log(brute_force(parameters, plan, segment)) for segment in segments)
    assert log_likelihood(parameters, plan, segments) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_smoothed_beliefs_and_transitions_are_those_of_all_paths(seed: int) -> None:
    random = np.random.default_rng(seed)
    S, T, U, sizes = 3, 5, 2, 4
    A, start = distributions(random, sizes, S), distributions(random, S)
    B = np.stack([distributions(random, S, S) for _ in range(U)])
    bins, actions = random.integers(-1, sizes, T), random.integers(0, U, T)
    smooth, pairs = np.zeros((T, S)), np.zeros((U, S, S))
    for path in itertools.product(range(S), repeat=T):
        p = start[path[0]] * np.prod([A[o, s] for o, s in zip(bins, path, strict=True) if o >= 0])
        p *= np.prod([B[actions[t], path[t + 1], path[t]] for t in range(T - 1)])
        for t, s in enumerate(path):
            smooth[t, s] += p
        for t in range(T - 1):
            pairs[actions[t], path[t + 1], path[t]] += p
    total = smooth[0].sum()
    # A longer segment beside it must not matter.
    (batch,) = chains.batches(
        [bins[:, None], random.integers(0, sizes, (T + 3, 1))], [actions, random.integers(0, U, T + 3)], S
    )
    found = chains.expect(chains.Chain(start, B, [A]), batch)
    row = int(np.flatnonzero(batch.members == 0)[0])
    np.testing.assert_allclose(found.smooth[row, :T], smooth / total, atol=1e-12)
    (alone,) = chains.batches([bins[:, None]], [actions], S)
    np.testing.assert_allclose(
        chains.expect(chains.Chain(start, B, [A]), alone).pairs, pairs / total, atol=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
def test_an_iteration_without_controls_is_hmmlearns(seed: int) -> None:
    random = np.random.default_rng(seed)
    S, sizes, lengths = 4, 5, [60, 17, 33]
    A, B, start = distributions(random, sizes, S), distributions(random, S, S), distributions(random, S)
    bins = random.integers(0, sizes, sum(lengths))
    foreign = CategoricalHMM(S, n_iter=1, params="te", init_params="", implementation="scaling")
    foreign.n_features = sizes
    foreign.startprob_, foreign.transmat_, foreign.emissionprob_ = start, B.T.copy(), A.T.copy()
    parts = np.split(bins, np.cumsum(lengths)[:-1])
    chain = chains.Chain(start, B[None], [A])
    zeros = [np.zeros(len(part), np.int64) for part in parts]
    (batch,) = chains.batches([part[:, None] for part in parts], zeros, S)
    found = chains.expect(chain, batch)
    assert found.log_likelihood == pytest.approx(foreign.score(bins[:, None], lengths), abs=1e-8)
    posterior = foreign.predict_proba(bins[:, None], lengths)
    by_segment = np.split(posterior, np.cumsum(lengths)[:-1])
    for row, (member, length) in enumerate(zip(batch.members, batch.lengths, strict=True)):
        np.testing.assert_allclose(found.smooth[row, :length], by_segment[member], atol=1e-9)
    foreign.fit(bins[:, None], lengths)
    np.testing.assert_allclose((found.pairs[0] / found.pairs[0].sum(axis=0)).T, foreign.transmat_, atol=1e-9)
    seen = np.eye(sizes)[np.maximum(batch.bins[:, :, 0], 0)] * (batch.bins >= 0)
    counts = np.einsum("nto,nts->os", seen, found.smooth)
    np.testing.assert_allclose((counts / counts.sum(axis=0)).T, foreign.emissionprob_, atol=1e-9)


def test_filtered_beliefs_are_those_of_the_device(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    template = toml(tmp_path / "t.toml", CONTROLLED)
    plan = structure(template)
    parameters = random_parameters(random, template, [4])
    chain = make_chain(parameters, plan, 0, plan.components[0])
    bins, actions = random.integers(-1, 4, 30), random.integers(0, 2, 30)
    (batch,) = chains.batches([bins[:, None]], [actions], 3)
    model = Model.from_arrays(
        parameters.likelihoods, parameters.transitions, [np.zeros(4)], [parameters.starts[0]]
    )
    arrays = model.arrays()
    filtered = chains.filtered(chain, batch)[0]
    prior = [parameters.starts[0]]
    for t in range(30):
        qs, _ = reference.infer(arrays, prior, [int(bins[t])])
        np.testing.assert_allclose(filtered[t], qs[0], atol=2e-3)  # the model's 8 bits
        prior = reference.predict(arrays, qs, [int(actions[t])])
