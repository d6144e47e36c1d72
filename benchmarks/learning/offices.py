"""A simulated fleet of offices: what is true, what a template knows, readings, exact inference in float64.

What is true is the chain that `edge-convert fit` makes of the measured office: occupancy (empty, few, full)
and a band of CO2 in one factor of 21 states, seen by CO2, light, temperature and humidity; no fan. A fleet is
a number of devices with ``READINGS`` readings each, drawn from it; ``HELD_OUT`` more are for judging.

The template knows what a person who never saw the data knows: which band a CO2 reading is in, that an empty
office is dark, and the mass balance of a well-mixed room. Of temperature and humidity it knows nothing.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_convert.fit import balance, bins, fit_job, ticks
from edge_convert.fit.template_file import load

Float = NDArray[np.float64]
Int = NDArray[np.int64]

OFFICE = Path(__file__).parents[2] / "examples" / "office"
READINGS, HELD_OUT, SEQUENCES = 630, 6_000, 3
SENSORS = ("co2", "light", "temperature", "humidity")
AIR_COUNT, STAY_COUNT, MOVE_COUNT = 10.0, 10.0, 0.5
BAND_COUNT, FLAT_COUNT, DARK_COUNT, LIT_COUNT = 20.0, 1.0, 10.0, 3.0
RATE_PER_HOUR, SPREAD = 0.5, 0.4
"""Air changes of an office without a fan, and the relative spread of what a person emits."""


class Chain(NamedTuple):
    """A sensor's A [O, S] each, B [S, S] and D [S]; columns sum to 1, or are concentrations."""

    A: tuple[Float, ...]
    B: Float
    D: Float

    @property
    def expected(self) -> Chain:
        """The columns of concentrations, normalised."""
        return Chain(tuple(a / a.sum(axis=0) for a in self.A), self.B / self.B.sum(axis=0), self.D)


@cache
def office() -> tuple[Chain, Chain]:
    """Return what is true, and the template's concentrations."""
    template_path = OFFICE / "office.toml"
    fitted = fit_job.run(OFFICE / "data" / "office_occupancy.csv", template_path, 1, lambda *_: None).arrays
    A = tuple(np.asarray(fitted[f"A_{i}"], np.float64) for i in range(len(SENSORS)))
    truth = Chain(A, np.asarray(fitted["B_0"][..., 0], np.float64), np.asarray(fitted["D_0"], np.float64))
    edges = np.asarray(json.loads(str(fitted["meta"]))["modalities"][0]["edges"], np.float64)
    template = load(template_path)
    air = template.factor_named("air")
    given, bands = air.balance, np.asarray(air.bands, np.float64)
    assert given is not None
    emission = np.array(list(given.emission.values()), np.float64)
    moves = balance.band_transition(
        bands,
        given.outside,
        emission,
        SPREAD * emission,
        RATE_PER_HOUR,
        template.tick_seconds / 3600,
        given.noise,
    )
    people = MOVE_COUNT + STAY_COUNT * np.eye(len(emission))
    people /= people.sum(axis=0)
    levels, states = len(bands) + 1, truth.B.shape[0]
    physics = np.einsum("ki,jli->kjil", people, moves).reshape(states, states)
    bin_bands = np.searchsorted(bands, np.concatenate([[0.0], edges]), side="right")
    inside = (bin_bands[:, np.newaxis] == np.arange(levels)).astype(np.float64)
    co2 = BAND_COUNT * inside / inside.sum(axis=0) + FLAT_COUNT / len(inside)
    light = np.ones((len(A[1]), len(emission)))
    light[0, 0], light[1:, 1:] = DARK_COUNT, LIT_COUNT
    light *= DARK_COUNT / light.sum(axis=0)
    flat = [np.full((len(a), states), FLAT_COUNT / len(a)) for a in A[2:]]
    prior = Chain(
        (np.tile(co2, (1, len(emission))), np.repeat(light, levels, axis=1), *flat),
        AIR_COUNT * physics + 0.01,
        np.full(states, 1 / states),
    )
    return truth, prior


def week() -> Int:
    """Return the measured office's last two days in the same bins: [1, ticks, sensors]."""
    path, data = OFFICE / "office.toml", OFFICE / "data" / "office_occupancy.csv"
    template = load(path)
    readings = fit_job.load_readings(data, template)
    segments = ticks.segments(readings, template, str(data))
    before, after = ticks.split_at(segments, ticks.held_out_tick(readings, template, segments, str(path)))
    modalities = bins.choose(template, readings, before, str(data))
    found, _ = bins.binned(modalities, after)
    rows = np.concatenate([segment.bins[:, : len(SENSORS)] for segment in found])
    return np.asarray(rows[(rows >= 0).all(axis=1)][np.newaxis], np.int64)


def draw(truth: Chain, sequences: int, length: int, rng: np.random.Generator) -> Int:
    """Return readings int [sequences, length, sensors]."""
    states = len(truth.D)
    out = np.empty((sequences, length, len(truth.A)), np.int64)
    state = rng.choice(states, sequences, p=truth.D)
    for t in range(length):
        if t:
            state = _drawn(truth.B[:, state], rng)
        for m, a in enumerate(truth.A):
            out[:, t, m] = _drawn(a[:, state], rng)
    return out


def _drawn(columns: Float, rng: np.random.Generator) -> Int:
    below = (columns.cumsum(axis=0) < rng.random(columns.shape[1])).sum(axis=0)
    return np.asarray(np.minimum(below, len(columns) - 1), np.int64)


def evidence(model: Chain, readings: Int) -> Float:
    """Return p(reading | state) [sequences, length, S]."""
    out = np.ones((*readings.shape[:2], model.B.shape[0]))
    for m, a in enumerate(model.A):
        out *= a[readings[..., m]]
    return out


def filtered(model: Chain, readings: Int) -> tuple[Float, Float]:
    """Return beliefs [sequences, length, S], and p(reading | before) [sequences, length]."""
    likely = evidence(model, readings)
    beliefs, seen = np.empty_like(likely), np.empty(likely.shape[:2])
    prior = np.broadcast_to(model.D, likely[:, 0].shape)
    for t in range(likely.shape[1]):
        joint = prior * likely[:, t]
        seen[:, t] = joint.sum(axis=1)
        beliefs[:, t] = joint / seen[:, t, np.newaxis]
        prior = beliefs[:, t] @ model.B.T
    return beliefs, seen


def smoothed(model: Chain, readings: Int) -> tuple[Float, Float]:
    """Return smoothed beliefs [sequences, length, S], and what is to come, likelihoods over states.

    A pair (after, before) at t has the probability B[after, before] * coming[t + 1, after] * filtered[t,
    before]: ``coming`` [sequences, length, S].
    """
    likely = evidence(model, readings)
    beliefs, seen = filtered(model, readings)
    out, coming = beliefs.copy(), np.empty_like(beliefs)
    after = np.ones_like(beliefs[:, 0])
    for t in range(beliefs.shape[1] - 1, -1, -1):
        out[:, t] = beliefs[:, t] * after
        out[:, t] /= out[:, t].sum(axis=1, keepdims=True)
        coming[:, t] = likely[:, t] * after / seen[:, t, np.newaxis]
        after = coming[:, t] @ model.B
    return out, coming


def maximised(prior: Chain, readings: Int, rounds: int) -> Chain:
    """Return what expectation maximisation makes of the prior and all readings, in float64."""
    model = prior.expected
    for _ in range(rounds):
        beliefs, coming = smoothed(model, readings)
        before, _ = filtered(model, readings)
        pairs = model.B * np.einsum("nti,ntj->ij", coming[:, 1:], before[:, :-1])
        flat = beliefs.reshape(-1, beliefs.shape[-1])
        A = []
        for m, p in enumerate(prior.A):
            counts = p.copy()
            np.add.at(counts, readings[..., m].ravel(), flat)
            A.append(counts)
        model = Chain(tuple(A), prior.B + pairs, prior.D).expected
    return model


def score(model: Chain, readings: Int) -> float:
    """Return the mean log-likelihood in nats per reading."""
    return float(np.log(filtered(model, readings)[1]).mean())
