"""Small worlds that readings are drawn from, for the tests of ``edge_convert.fit``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.wire import readings as readings_file
from edge_agent.wire.readings import ControlNames, ModalityNames, Readings
from edge_convert.fit import bins, layout, template_file, ticks
from edge_convert.fit.bins import BinnedSegment
from edge_convert.fit.layout import Layout
from edge_convert.fit.parameters import Estimator, Parameters
from edge_convert.fit.template import Template

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def distributions(random: np.random.Generator, *shape: int) -> FloatArray:
    """Return random positive columns."""
    table = random.dirichlet(np.full(shape[0], 0.8), size=shape[1:]) + 0.02
    table /= table.sum(axis=-1, keepdims=True)
    return np.moveaxis(table, -1, 0)


def toml(path: Path, text: str) -> Template:
    path.write_text(text)
    return template_file.load(path)


def structure(template: Template) -> Layout:
    return layout.layout(template, "template.toml")


def random_parameters(random: np.random.Generator, template: Template, sizes: list[int]) -> Parameters:
    """Return parameters of a template, drawn; ``sizes`` are the bins of its modalities."""
    plan = structure(template)
    return Parameters(
        [distributions(random, size, *plan.sizes(seen)) for size, seen in zip(sizes, plan.sees, strict=True)],
        [
            distributions(random, *plan.sizes((f, *factor.parents)), plan.moves(factor))
            for f, factor in enumerate(plan.factors)
        ],
        [distributions(random, int(np.prod(plan.sizes(component.factors)))) for component in plan.components],
        {},
    )


def brute_force(parameters: Parameters, plan: Layout, segment: BinnedSegment) -> float:
    """Return the likelihood of a short segment: the sum over every path of every factor."""
    factors, total = plan.factors, 0.0
    every = list(itertools.product(*(range(factor.size) for factor in factors)))
    for path in itertools.product(every, repeat=len(segment)):
        p = 1.0
        for number, component in enumerate(plan.components):
            start = parameters.starts[number].reshape(plan.sizes(component.factors))
            p *= start[tuple(path[0][f] for f in component.factors)]
        for t, states in enumerate(path):
            for m, seen in enumerate(plan.sees):
                if segment.bins[t, m] >= 0:
                    p *= parameters.likelihoods[m][(segment.bins[t, m], *(states[f] for f in seen))]
            if t + 1 < len(path):
                for f, factor in enumerate(factors):
                    u = 0 if factor.control is None else segment.actions[t, factor.control]
                    before = tuple(states[parent] for parent in factor.parents)
                    p *= parameters.transitions[f][(path[t + 1][f], *before, u)]
        total += p
    return total


def drawn(
    random: np.random.Generator, A: FloatArray, B: FloatArray, ticks_: int, actions: IntArray | None = None
) -> tuple[IntArray, IntArray]:
    """Return states and bins (T,) of a chain with A [O, S] and B [S, S, U]."""
    states = np.zeros(ticks_, np.int64)
    for t in range(1, ticks_):
        u = 0 if actions is None else actions[t - 1]
        states[t] = random.choice(B.shape[0], p=B[:, states[t - 1], u])
    return states, np.array([random.choice(A.shape[0], p=A[:, s]) for s in states])


def recorded(
    path: Path,
    columns: dict[str, IntArray],
    tick: float,
    actions: tuple[str, tuple[str, ...], IntArray] | None = None,
    labels: dict[str, tuple[str, ...]] | None = None,
) -> Path:
    """Write readings of one agent, one of each column in each tick; -1: none."""
    entries = [
        (t * tick, m, value)
        for m, column in enumerate(columns.values())
        for t, value in enumerate(column)
        if value >= 0
    ]
    entries.sort()
    array = np.array(entries)
    acted = np.zeros(0, np.int64) if actions is None else actions[2]
    readings_file.write(
        path,
        Readings(
            ("one",),
            tuple(ModalityNames(name, labels=(labels or {}).get(name, ())) for name in columns),
            () if actions is None else (ControlNames(actions[0], actions[1]),),
            array[:, 0],
            np.zeros(len(array), np.int64),
            array[:, 1].astype(np.int64),
            array[:, 2],
            np.full(len(array), -1),
            np.arange(len(acted)) * tick,
            np.zeros(len(acted), np.int64),
            np.zeros(len(acted), np.int64),
            acted,
        ),
    )
    return path


def prepared(path: Path, template: Template) -> tuple[Estimator, list[BinnedSegment]]:
    """Return an estimator and all readings of a file in bins."""
    found = readings_file.read(path)
    segments = ticks.segments(found, template, str(path))
    modalities = bins.choose(template, found, segments, str(path))
    binned, _ = bins.binned(modalities, segments)
    return Estimator(template, structure(template), modalities, binned, "template.toml"), binned


def quiet(*_: Any) -> None:
    """Report nothing."""
