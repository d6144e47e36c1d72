"""First guesses of the hidden states, for expectation maximisation to begin from.

A source of a balance is in its least state while idle or while hardly anything is needed to explain the
readings, else in equal shares by what is needed. Of other factors the first guess orders the ticks by the
readings that see the factor; the states are equal shares of that order. Other guesses are drawn: a
random state for each stretch of ticks. Bands and factors that follow a control are known from readings and
actions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_convert.fit.bins import BinnedSegment
from edge_convert.fit.layout import Component, Layout
from edge_convert.fit.parameters import Estimator
from edge_convert.fit.template import BalanceTemplate

WINDOW = 5
"""Sources are differences of noisy readings: so many are averaged."""
STRETCH = 8
"""Mean length of a drawn stretch, ticks."""
DOUBT = 1e-3
HARDLY = 0.25
"""A source below this share of the strong ones (90th percentile) is hardly one."""
FloatArray = NDArray[np.float64]


def joint_guess(
    estimator: Estimator,
    plan: Layout,
    component: Component,
    segments: Sequence[BinnedSegment],
    random: np.random.Generator | None,
) -> list[FloatArray]:
    """Return P(joint state) at each tick of each segment, float64 (T, S); drawn if ``random`` is given."""
    joint = [np.ones((len(segment), 1)) for segment in segments]
    for f in component.factors:
        one = _factor_guess(estimator, plan, component, segments, f, random)
        joint = [(a[:, :, None] * b[:, None, :]).reshape(len(a), -1) for a, b in zip(joint, one, strict=True)]
    sums = [guess + DOUBT for guess in joint]
    return [np.asarray(guess / guess.sum(axis=1, keepdims=True)) for guess in sums]


def _factor_guess(
    estimator: Estimator,
    plan: Layout,
    component: Component,
    segments: Sequence[BinnedSegment],
    f: int,
    random: np.random.Generator | None,
) -> list[FloatArray]:
    factor, entry = plan.factors[f], estimator.template.factor[f]
    uniform = np.full((1, factor.size), 1.0 / factor.size)
    table = np.concatenate([np.eye(factor.size), uniform])  # the last row: not known
    if entry.bands:
        column = [m.name for m in estimator.template.modality].index(entry.of)
        band = np.append(estimator.band_of_bin(f), factor.size)
        return [table[band[s.bins[:, column]]] for s in segments]
    if entry.follows is not None and factor.control is not None:
        before = [np.concatenate([[factor.size], s.actions[:-1, factor.control]]) for s in segments]
        return [table[states] for states in before]
    if random is not None:
        return [table[_drawn(len(s), factor.size, random)] for s in segments]
    for g in component.factors:
        balance = estimator.template.factor[g].balance
        if balance is not None and balance.source == factor.name:
            return _by_source(estimator, g, balance, segments, table)
    scores = _scores(estimator, plan, component, segments, f)
    every = np.concatenate(scores)
    known = every[~np.isnan(every)]
    if not len(known):
        return [np.repeat(uniform, len(s), axis=0) for s in segments]
    edges = np.quantile(known, np.arange(1, factor.size) / factor.size)
    return [
        table[np.where(np.isnan(score), factor.size, np.searchsorted(edges, score, side="right"))]
        for score in scores
    ]


def _drawn(ticks: int, states: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return random states that stay for a while."""
    new = random.random(ticks) < 1.0 / STRETCH
    new[:1] = True
    drawn = random.integers(states, size=ticks)
    return np.asarray(drawn[np.maximum.accumulate(np.where(new, np.arange(ticks), 0))])


def _scores(
    estimator: Estimator, plan: Layout, component: Component, segments: Sequence[BinnedSegment], f: int
) -> list[FloatArray]:
    """Return what ticks are ordered by, float64 (T,) a segment; NaN: nothing is known."""
    columns = [m for m in component.modalities if f in plan.sees[m]]
    every = np.concatenate([s.bins[:, columns] for s in segments]).astype(np.float64)
    every[every < 0] = np.nan
    known = ~np.isnan(every)
    hits = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, every, 0.0).sum(axis=0) / hits
    deviation = np.sqrt(np.where(known, (every - mean) ** 2, 0.0).sum(axis=0) / hits)
    scaled = np.where(known, (every - mean) / np.maximum(deviation, 1e-9), 0.0)
    if columns:  # readings that fall while the first ones rise count the other way round
        sign = np.sign((scaled * scaled[:, :1]).sum(axis=0))
        scaled *= np.where(sign == 0, 1.0, sign)
    count = known.sum(axis=1)
    score = np.where(count > 0, scaled.sum(axis=1) / np.maximum(count, 1), np.nan)
    return np.split(score, np.cumsum([len(s) for s in segments])[:-1])


def _by_source(
    estimator: Estimator,
    g: int,
    balance: BalanceTemplate,
    segments: Sequence[BinnedSegment],
    table: FloatArray,
) -> list[FloatArray]:
    """Return the state with the least source while idle or hardly anything is emitted, else equal shares."""
    mean = estimator.sources[g].mean
    order = np.argsort(mean, kind="stable")
    column = None
    if balance.idle is not None:
        column = [m.name for m in estimator.template.modality].index(balance.idle.modality)
    source = [_smooth(np.append(steps, steps[-1:])) for steps in estimator.steps[g]]
    quiet = [
        np.zeros(len(s), bool)
        if column is None or balance.idle is None
        else s.values[:, column] < balance.idle.below
        for s in segments
    ]
    every, idle = np.concatenate(source), np.concatenate(quiet)
    known = ~np.isnan(every)
    busy = every[known & ~idle]
    least = HARDLY * np.percentile(busy, 90) if len(busy) else np.inf
    some = every[known & ~idle & (every > least)]
    edges = np.quantile(some, np.arange(1, len(mean) - 1) / (len(mean) - 1)) if len(some) else np.zeros(0)
    guesses = []
    for values, dark in zip(source, quiet, strict=True):
        states = order[np.where(dark | ~(values > least), 0, 1 + np.searchsorted(edges, values, side="left"))]
        guesses.append(table[np.where(np.isnan(values) & ~dark, len(mean), states)])
    return guesses


def _smooth(values: FloatArray) -> FloatArray:
    """Return running means over ``WINDOW`` values; NaN are left out."""
    known = ~np.isnan(values)
    width = min(WINDOW, len(values))
    kernel = np.ones(width)
    sums = np.convolve(np.where(known, values, 0.0), kernel, "same")
    hits = np.convolve(known.astype(float), kernel, "same")
    return np.asarray(np.where(hits > 0, sums / np.maximum(hits, 1), np.nan))
