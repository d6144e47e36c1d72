"""Forward and backward passes over a chain of joint states whose transitions depend on the action.

Exact inference for one component. Segments of all agents are filtered side by side; the scaled passes give
the likelihood, smoothed beliefs and expected transitions of each action.

Source: Rabiner, Proceedings of the IEEE 77 (1989) 257-286, scaled forward and backward passes; transitions by
action as in an input-output hidden Markov model (Bengio and Frasconi, NIPS 7, 1995).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# What a model calls impossible can still be observed: as in pymdp, likelihoods are not smaller.
EPSILON = float(np.finfo(np.float64).eps)
MAX_CELLS = 8_000_000
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chain:
    """A component's parameters over its joint states.

    Attributes
    ----------
    start : float64 (S,)
        P(state) at the first tick.
    transitions : float64 (U, S, S)
        P(next state | state) for each joint action; the first axis of a matrix is the next state.
    likelihoods : sequence of float64 (O, S)
        P(bin | state) for each modality of the component.
    """

    start: FloatArray
    transitions: FloatArray
    likelihoods: Sequence[FloatArray]


@dataclass(frozen=True, slots=True)
class Batch:
    """Segments side by side, the longest first; shorter ones end with ticks that do not count.

    Attributes
    ----------
    bins : int64 (N, T, M)
        Of the component's modalities; -1 not observed.
    actions : int64 (N, T)
        Joint actions of the component.
    lengths : int64 (N,)
    members : int64 (N,)
        Which segments they are.
    """

    bins: IntArray
    actions: IntArray
    lengths: IntArray
    members: IntArray


@dataclass(frozen=True, slots=True)
class Expected:
    """What a pass over a batch expects.

    Attributes
    ----------
    smooth : float64 (N, T, S)
        P(state | all readings); 0 beyond a segment's end.
    pairs : float64 (U, S, S)
        Expected number of transitions of each action, next state first.
    log_likelihood : float
        Of all readings, nats.
    """

    smooth: FloatArray
    pairs: FloatArray
    log_likelihood: float


def batches(bins: Sequence[IntArray], actions: Sequence[IntArray], states: int) -> Iterator[Batch]:
    """Yield the segments, bins (T, M) and joint actions (T,), in batches that fit memory."""
    order = sorted(range(len(bins)), key=lambda n: -len(bins[n]))
    while order:
        longest = len(bins[order[0]])
        count = max(1, MAX_CELLS // (longest * states))
        members, order = order[:count], order[count:]
        padded = np.full((len(members), longest, bins[0].shape[1]), -1, np.int64)
        acted = np.zeros((len(members), longest), np.int64)
        for row, n in enumerate(members):
            padded[row, : len(bins[n])], acted[row, : len(bins[n])] = bins[n], actions[n]
        yield Batch(padded, acted, np.array([len(bins[n]) for n in members]), np.array(members))


def log_likelihood(chain: Chain, batch: Batch) -> float:
    """Return the log-likelihood of a batch, nats."""
    return float(np.log(_forward(chain, batch)[1]).sum())


def filtered(chain: Chain, batch: Batch) -> FloatArray:
    """Return P(state | readings so far), float64 (N, T, S)."""
    return _forward(chain, batch)[0]


def expect(chain: Chain, batch: Batch) -> Expected:
    """Smooth a batch."""
    beliefs, scale, evidence = _forward(chain, batch)
    count, ticks, states = beliefs.shape
    smooth = beliefs.copy()
    pairs = np.zeros_like(chain.transitions)
    future = np.ones((count, states))
    for t in range(ticks - 2, -1, -1):
        n = int(np.count_nonzero(batch.lengths > t + 1))
        message = evidence[:n, t + 1] * future[:n] / scale[:n, t + 1, None]
        for u, rows in _by_action(batch.actions[:n, t]):
            pairs[u] += message[rows].T @ beliefs[:n][rows, t]
            future[:n][rows] = message[rows] @ chain.transitions[u]
        smooth[:n, t] = beliefs[:n, t] * future[:n]
    for row, length in enumerate(batch.lengths):
        smooth[row, length:] = 0.0
    return Expected(smooth, pairs * chain.transitions, float(np.log(scale).sum()))


def _forward(chain: Chain, batch: Batch) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return beliefs (N, T, S), P(readings of a tick | those before) (N, T), likelihoods (N, T, S)."""
    evidence = _evidence(chain, batch)
    count, ticks, states = evidence.shape
    beliefs, scale = np.empty_like(evidence), np.ones((count, ticks))
    prior = np.broadcast_to(chain.start, (count, states)).copy()
    for t in range(ticks):
        n = int(np.count_nonzero(batch.lengths > t))
        joint = prior[:n] * evidence[:n, t]
        scale[:n, t] = joint.sum(axis=1)
        beliefs[:n, t] = joint / scale[:n, t, None]
        beliefs[n:, t] = prior[n:]
        for u, rows in _by_action(batch.actions[:n, t]):
            prior[:n][rows] = beliefs[:n][rows, t] @ chain.transitions[u].T
    return beliefs, scale, evidence


def _by_action(actions: IntArray) -> Iterator[tuple[int, slice | IntArray]]:
    """Yield each action that occurs, and the rows that have it."""
    if len(actions) == 0:
        return
    first = int(actions[0])
    if (actions == first).all():
        yield first, slice(None)
        return
    for u in np.unique(actions):
        yield int(u), np.flatnonzero(actions == u)


def _evidence(chain: Chain, batch: Batch) -> FloatArray:
    """Return P(readings of a tick | state), float64 (N, T, S)."""
    count, ticks = batch.actions.shape
    product = np.ones((count, ticks, len(chain.start)))
    for m, table in enumerate(chain.likelihoods):
        with_missing = np.concatenate([np.maximum(table, EPSILON), np.ones((1, table.shape[1]))])
        product *= with_missing[batch.bins[:, :, m]]  # -1 is the last row
    return product
