"""Expectation maximisation: the parameters of a template from readings in ticks.

Theory of operation. Components are fitted one by one. The E step is exact forward and backward passes over a
component's joint states (``chain``); the M step turns the expected counts into posterior means
(``parameters``). It iterates until the likelihood of the training readings stands still, from each of several
first guesses, the best of which is kept; a component with a balance has one first guess. States of a factor
that no prior tells apart are put in the order of their readings. The generator is seeded, so that equal
readings give an equal model.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_convert.fit import chain as chains
from edge_convert.fit.bins import BinnedSegment
from edge_convert.fit.guess import joint_guess
from edge_convert.fit.layout import (
    Component,
    Layout,
    joint_transition,
    marginal,
    spread,
    transition_counts,
)
from edge_convert.fit.parameters import Counts, Estimator, Parameters

ITERATIONS = 60
STILL = 1e-5
"""Nats per tick: a change below it ends the iteration."""
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Report = Callable[[int, int, float], None]
"""(start, iteration, mean log-likelihood per tick), called after each iteration."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Parameters, and the mean log-likelihood of a training tick before each iteration of the best start."""

    parameters: Parameters
    course: list[float]


def fit(
    estimator: Estimator, plan: Layout, segments: Sequence[BinnedSegment], starts: int, report: Report
) -> Fitted:
    """Estimate all components.

    Parameters
    ----------
    estimator : Estimator
    plan : Layout
    segments : sequence of BinnedSegment
        Training readings.
    starts : int
        First guesses for each component.
    report : callable
        Told of the progress.
    """
    counts = estimator.zero_counts()
    course: list[float] = []
    for number, component in enumerate(plan.components):
        if not estimator.learned(component.factors, component.modalities):
            continue
        best: tuple[float, Counts, list[float]] | None = None
        # The sources of a balance say which state is which; a drawn guess would give states other meanings.
        named = any(f in estimator.sources for f in component.factors)
        for start in range(1 if named else starts):
            random = np.random.default_rng([number, start]) if start else None
            told = functools.partial(report, start)
            found, likelihoods = _climb(estimator, plan, number, component, segments, random, told)
            if best is None or likelihoods[-1] > best[0]:
                best = likelihoods[-1], found, likelihoods
        if best is not None:
            _take(counts, best[1], number, component)
            course = (
                [a + b for a, b in itertools.zip_longest(course, best[2], fillvalue=0.0)]
                if course
                else best[2]
            )
    return Fitted(_ordered(estimator, plan, estimator.estimate(counts)), course)


def log_likelihood(parameters: Parameters, plan: Layout, segments: Sequence[BinnedSegment]) -> float:
    """Return the log-likelihood of readings under a model, nats: of all ticks and modalities together."""
    total = 0.0
    for number, component in enumerate(plan.components):
        if not component.modalities:
            continue
        chain = make_chain(parameters, plan, number, component)
        for batch in _batches(plan, component, segments):
            total += chains.log_likelihood(chain, batch)
    return total


def make_chain(parameters: Parameters, plan: Layout, number: int, component: Component) -> chains.Chain:
    """Return a component's chain over its joint states; joint actions count the last control fastest."""
    tables = {f: parameters.transitions[f] for f in component.factors}
    ranges = [range(plan.actions[c]) for c in component.controls]
    transitions = np.stack(
        [
            joint_transition(
                tables, component.factors, plan, dict(zip(component.controls, action, strict=True))
            )
            for action in itertools.product(*ranges)
        ]
    )
    likelihoods = [
        spread(parameters.likelihoods[m], plan.sees[m], component.factors, plan) for m in component.modalities
    ]
    return chains.Chain(parameters.starts[number], transitions, likelihoods)


def _batches(plan: Layout, component: Component, segments: Sequence[BinnedSegment]) -> list[chains.Batch]:
    states = int(np.prod(plan.sizes(component.factors)))
    sizes = [plan.actions[c] for c in component.controls]
    actions = [
        np.ravel_multi_index(tuple(s.actions[:, c] for c in component.controls), sizes).astype(np.int64)
        if sizes
        else np.zeros(len(s), np.int64)
        for s in segments
    ]
    bins = [s.bins[:, list(component.modalities)] for s in segments]
    return list(chains.batches(bins, actions, states))


def _climb(
    estimator: Estimator,
    plan: Layout,
    number: int,
    component: Component,
    segments: Sequence[BinnedSegment],
    random: np.random.Generator | None,
    report: Callable[[int, float], None],
) -> tuple[Counts, list[float]]:
    """Iterate from one first guess; return the last expected counts and the course of the likelihood."""
    found = _batches(plan, component, segments)
    ticks = sum(len(segment) for segment in segments)
    counts = _first_counts(estimator, plan, number, component, segments, found, random)
    course: list[float] = []
    for iteration in range(ITERATIONS):
        chain = make_chain(estimator.estimate(counts), plan, number, component)
        new, total = estimator.zero_counts(), 0.0
        for batch in found:
            expected = chains.expect(chain, batch)
            _add(new, estimator, plan, number, component, batch, expected.smooth, expected.pairs)
            total += expected.log_likelihood
        course.append(total / ticks)
        report(iteration, course[-1])
        if iteration and abs(course[-1] - course[-2]) < STILL:
            break
        counts = new
    return counts, course


def _first_counts(
    estimator: Estimator,
    plan: Layout,
    number: int,
    component: Component,
    segments: Sequence[BinnedSegment],
    found: Sequence[chains.Batch],
    random: np.random.Generator | None,
) -> Counts:
    """Return the counts of a first guess, in which successive ticks are independent."""
    guesses = joint_guess(estimator, plan, component, segments, random)
    counts = estimator.zero_counts()
    states = guesses[0].shape[1]
    moves = int(np.prod([plan.actions[c] for c in component.controls], dtype=np.int64))
    for batch in found:
        smooth = np.zeros((*batch.actions.shape, states))
        pairs = np.zeros((moves, states, states))
        for row, member in enumerate(batch.members):
            guess = guesses[member]
            smooth[row, : len(guess)] = guess
            for u in np.unique(batch.actions[row, : len(guess) - 1]):
                at = np.flatnonzero(batch.actions[row, : len(guess) - 1] == u)
                pairs[u] += guess[at + 1].T @ guess[at]
        _add(counts, estimator, plan, number, component, batch, smooth, pairs)
    return counts


def _add(
    counts: Counts,
    estimator: Estimator,
    plan: Layout,
    number: int,
    component: Component,
    batch: chains.Batch,
    smooth: FloatArray,
    pairs: FloatArray,
) -> None:
    """Add what a batch expects to ``counts``."""
    flat = smooth.reshape(-1, smooth.shape[-1])
    for place, m in enumerate(component.modalities):
        codes = batch.bins[:, :, place].ravel()
        one_hot = np.eye(len(counts.likelihoods[m]))
        seen = np.flatnonzero(codes >= 0)
        joint = one_hot[codes[seen]].T @ flat[seen]
        counts.likelihoods[m] += marginal(joint, plan.sees[m], component.factors, plan)
    counts.starts[number] += flat.sum(axis=0)
    ranges = [range(plan.actions[c]) for c in component.controls]
    for joint_action, action in enumerate(itertools.product(*ranges)):
        chosen = dict(zip(component.controls, action, strict=True))
        for f in component.factors:
            control = plan.factors[f].control
            own = 0 if control is None else chosen[control]
            counts.transitions[f][..., own] += transition_counts(
                pairs[joint_action], f, component.factors, plan
            )
    for f in component.factors:
        if f in counts.moments:
            _add_moments(counts.moments[f], estimator, plan, f, component, batch, smooth)


def _add_moments(
    moments: FloatArray,
    estimator: Estimator,
    plan: Layout,
    f: int,
    component: Component,
    batch: chains.Batch,
    smooth: FloatArray,
) -> None:
    """Add weights, sums and squares of a balance's source by the state of the factor that it depends on."""
    parent = plan.factors[f].parents[1]
    for row, member in enumerate(batch.members):
        steps = estimator.steps[f][member]
        known = np.flatnonzero(~np.isnan(steps))
        who = marginal(smooth[row, known], (parent,), component.factors, plan)
        values = steps[known]
        moments += np.stack([who.sum(axis=0), values @ who, values**2 @ who])


def _take(counts: Counts, found: Counts, number: int, component: Component) -> None:
    """Take over what was found of one component."""
    counts.starts[number] = found.starts[number]
    for m in component.modalities:
        counts.likelihoods[m] = found.likelihoods[m]
    for f in component.factors:
        counts.transitions[f] = found.transitions[f]
        if f in counts.moments:
            counts.moments[f] = found.moments[f]


def _ordered(estimator: Estimator, plan: Layout, parameters: Parameters) -> Parameters:
    """Put the states of factors that no prior tells apart into the order of their readings."""
    template = estimator.template
    told_apart = {f.balance.source for f in template.factor if f.balance is not None}
    for f, entry in enumerate(template.factor):
        alone = [m for m, sees in enumerate(plan.sees) if sees == (f,)]
        fixed = any(template.modality[m].alike or template.modality[m].likelihood != "learned" for m in alone)
        if entry.bands or entry.follows is not None or entry.name in told_apart or fixed or not alone:
            continue
        table = parameters.likelihoods[alone[0]]
        order = np.argsort(np.arange(len(table)) @ table, kind="stable")
        parameters = _permuted(parameters, plan, f, order)
    return parameters


def _permuted(parameters: Parameters, plan: Layout, f: int, order: IntArray) -> Parameters:
    """Return the parameters with the states of a factor in another order."""
    likelihoods = list(parameters.likelihoods)
    for m, sees in enumerate(plan.sees):
        if f in sees:
            likelihoods[m] = likelihoods[m].take(order, axis=1 + sees.index(f))
    transitions = list(parameters.transitions)
    for g, factor in enumerate(plan.factors):
        if g == f:
            transitions[g] = transitions[g].take(order, axis=0)
        if f in factor.parents:
            transitions[g] = transitions[g].take(order, axis=1 + factor.parents.index(f))
    starts = list(parameters.starts)
    for number, component in enumerate(plan.components):
        if f in component.factors:
            full = starts[number].reshape(plan.sizes(component.factors))
            starts[number] = full.take(order, axis=component.factors.index(f)).ravel()
    return replace(parameters, likelihoods=likelihoods, transitions=transitions, starts=starts)
