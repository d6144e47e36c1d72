"""What a device of the simulated fleet counts: integers, from beliefs that are rounded once.

``online`` learns while it infers, as a device with ``learn = "population"`` does: it counts its filtered
beliefs, from their 8-bit codes, and makes its model anew of prior and counts every ``EVERY`` readings.
``frozen`` is the E step of federated expectation maximisation: smoothed beliefs and pairs under the model
that the hub gave, rounded the same way. Inference is the float64 filter (`benchmarks.learning.offices`).
"""

from __future__ import annotations

import numpy as np

from benchmarks.learning.offices import Chain, Float, Int, filtered, smoothed
from edge_agent.wire.increments import Counts, Increments

EVERY = 60
BITS = 12
MODEL = "0" * 64


def tensors(prior: Chain) -> tuple[Counts, ...]:
    """Return what is counted: A of each sensor, and B."""
    states = len(prior.D)
    made = [Counts(f"A_{m}", a.shape, BITS) for m, a in enumerate(prior.A)]
    return (*made, Counts("B_0", (1, states, states), 2 * BITS))


def whole_units(values: Float, bits: int) -> Int:
    """Return integers that sum to 2^bits along the last axis, by cumulative rounding."""
    running = values.cumsum(axis=-1)
    running *= 2.0**bits / running[..., -1:]
    return np.diff(np.floor(running + 0.5), axis=-1, prepend=0.0).astype(np.int64)


def through_codes(beliefs: Float) -> Float:
    """Return beliefs as their 8-bit quarter-power codes say them."""
    codes = np.floor(255 * np.sqrt(np.sqrt(beliefs / beliefs.max(axis=-1, keepdims=True))) + 0.5)
    out: Float = codes**4
    return out


def online(prior: Chain, readings: Int) -> list[Increments]:
    """Return what each device [devices, length, sensors] counts while it learns by itself."""
    devices, length, _ = readings.shape
    states = len(prior.D)
    A = [np.zeros((devices, *a.shape), np.int64) for a in prior.A]
    B = np.zeros((devices, states, states), np.int64)
    here = np.arange(devices)
    belief, before = np.broadcast_to(prior.D, (devices, states)), None
    now_A = [np.broadcast_to(a, (devices, *a.shape)) for a in prior.expected.A]
    now_B = np.broadcast_to(prior.expected.B, B.shape)
    for t in range(length):
        if t:
            belief = np.einsum("nij,nj->ni", now_B, belief)
        joint = belief.copy()
        for m, a in enumerate(now_A):
            joint *= a[here, readings[:, t, m]]
        belief = joint / joint.sum(axis=1, keepdims=True)
        units = whole_units(through_codes(belief), BITS)
        for m, counts in enumerate(A):
            counts[here, readings[:, t, m]] += units
        if before is not None:
            B += units[:, :, np.newaxis] * before[:, np.newaxis, :]
        before = units
        if (t + 1) % EVERY == 0:
            now_A = [_columns(p + c / 2.0**BITS) for p, c in zip(prior.A, A, strict=True)]
            now_B = _columns(prior.B + B / 2.0 ** (2 * BITS))
    return _increments(prior, A, B, length)


def frozen(prior: Chain, model: Chain, readings: Int) -> list[Increments]:
    """Return what each device expects to have been under ``model``."""
    beliefs, coming = smoothed(model, readings)
    before, _ = filtered(model, readings)
    A = [np.zeros((len(readings), *a.shape), np.int64) for a in prior.A]
    B = np.zeros((len(readings), *model.B.shape), np.int64)
    for n, sequence in enumerate(readings):  # one device at a time: pairs of all of them are large
        units = whole_units(beliefs[n], BITS)
        for m, counts in enumerate(A):
            np.add.at(counts[n], sequence[:, m], units)
        pairs = model.B * coming[n, 1:, :, np.newaxis] * before[n, :-1, np.newaxis, :]
        B[n] = whole_units(pairs.reshape(len(pairs), -1), 2 * BITS).sum(axis=0).reshape(B[n].shape)
    return _increments(prior, A, B, readings.shape[1])


def after(prior: Chain, increments: Increments) -> Chain:
    """Return the model of prior and counts."""
    A = tuple(p + increments.counts(f"A_{m}") for m, p in enumerate(prior.A))
    return Chain(A, prior.B + increments.counts("B_0")[0], prior.D).expected


def _columns(concentrations: Float) -> Float:
    out: Float = concentrations / concentrations.sum(axis=1, keepdims=True)
    return out


def _increments(prior: Chain, A: list[Int], B: Int, updates: int) -> list[Increments]:
    made = tensors(prior)
    return [
        Increments(MODEL, made, updates, np.concatenate([*(a[n].ravel() for a in A), B[n].ravel()]))
        for n in range(len(B))
    ]
