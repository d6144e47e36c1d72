"""A device that learns: integer counts beside pymdp's, what they cost a step, and what they take.

What is measured. Agents on the grids s2 and s4 act at random in a world that is their model; *a step that
learns* is compared with the same step of a population that does not, tick by tick in the same run, and with
pymdp's jitted, batched step that learns. *New codes* is a model made again from its counts; *taken over*
includes the population made of it. A step with new codes is one of the ticks after the first swap, beside the
delivered model and beside the same codes in a population that does not learn. *Left out* is the divergence of
the stored columns from the learned ones. All times are the least of several: other work on the machine only
adds.
Parity with live agents that learn is in ``learned_parity``, and is printed here too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks import learned_parity
from benchmarks.figures import LESS, MORE, Figure, at_most
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.counts.recode import recoded
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population
from edge_agent.engine.stored_model import StoredModel
from edge_agent.errors import EdgeAgentError
from edge_agent.memory.arena import total
from edge_agent.wire.increments import Increments
from edge_convert.readers import pymdp_npz

GRIDS = ("s2_grid10_T1", "s4_grid10x4_T1")
AGENTS, TICKS, WARM = 10_000, 60, 5
BOARD_AGENTS = 1_000


class Grid:
    """A grid's model and concentrations, and what ``AGENTS`` agents meet in it: readings and actions."""

    def __init__(self, name: str) -> None:
        arrays = pymdp_npz.read(learned_parity.MODELS / f"{name}.npz").arrays
        self.name, self.model = name, Model.quantized(arrays)
        A, B = ([np.asarray(t) for t in tensors] for tensors in (arrays.A, arrays.B))
        self.transitions = [10 * b for b in B]
        self.concentrations = Concentrations.of(
            self.model, [10 * a + 0.01 for a in A], [10 * b + 0.01 for b in B]
        )
        rng = np.random.default_rng(1)

        def drawn(columns: NDArray[np.float64]) -> NDArray[np.int64]:
            below = columns.cumsum(axis=0) < rng.random(columns.shape[1]) * columns.sum(axis=0)
            return np.asarray(below.sum(axis=0).clip(0, len(columns) - 1), np.int64)

        states = [drawn(np.repeat(np.asarray(d)[:, np.newaxis], AGENTS, axis=1)) for d in arrays.D]
        self.readings, self.actions = list[NDArray[np.int64]](), list[NDArray[np.int64]]()
        for _ in range(TICKS):
            seen = [
                np.moveaxis(a, 0, -1)[tuple(states[f] for f in d)].T
                for a, d in zip(A, arrays.A_deps, strict=True)
            ]
            self.readings.append(np.stack([drawn(c) for c in seen], axis=1))
            self.actions.append(np.stack([rng.integers(0, u, AGENTS) for u in arrays.num_controls], axis=1))
            moved = [
                np.moveaxis(b, 0, -1)[(*(states[f] for f in d), u)].T
                for b, d, u in zip(B, arrays.B_deps, self.actions[-1].T, strict=True)
            ]
            states = [drawn(c) for c in moved]


def seconds(call: Callable[[], object]) -> float:
    """Return what one call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def step_figures(pymdp: dict[str, float]) -> Iterator[Figure]:
    """Yield what a step that learns costs beside one that does not, and beside pymdp's."""
    for name in GRIDS:
        grid = Grid(name)
        plain, learner = (
            Population(grid.model, AGENTS),
            Learner(Population(grid.model, AGENTS, changing=True), grid.concentrations, every=TICKS),
        )
        both = _ticks(grid, plain, learner)
        yield _cost(grid.name, "a step that learns", both, "a step that does not")
        each = min(learns for _, learns in both) / AGENTS * 1e6
        ratio = pymdp[name] / each
        yield Figure(
            name,
            "pymdp's step that learns",
            pymdp[name],
            "us an agent",
            "ours",
            round(ratio, 1),
            25.0,
            ratio >= 25,
            MORE,
        )
        counted = learner.increments()
        taken = [_renewed(grid, counted.units) for _ in range(7)]
        yield at_most(name, "new codes", min(codes for codes, _ in taken) * 1e3, "ms", 5.0)
        yield Figure(name, "new codes, taken over", min(both for _, both in taken) * 1e3, "ms")
        yield from _left_out(grid, learner.population.model, counted)
        yield _after(grid, plain, learner, "with new codes")
        same = Population(learner.population.model, AGENTS)
        later = _ticks(grid, same, learner)
        yield _cost(
            grid.name, "a step that learns, with new codes, by itself", later, "a step with the same codes"
        )
        masked = Concentrations.of(grid.model, pB=grid.transitions, masked=True)
        learner = Learner(Population(grid.model, AGENTS, changing=True), masked, every=TICKS)
        _ticks(grid, plain, learner)
        yield _after(grid, plain, learner, "with new codes of B, masked")


def _after(grid: Grid, plain: Population, learner: Learner, words: str) -> Figure:
    if learner.swaps != 1:
        raise EdgeAgentError(f"{grid.name}: {learner.swaps} new codes, expected one")
    later = _ticks(grid, plain, learner)
    return _cost(grid.name, f"a step that learns, {words}", later, "a step that does not")


def _ticks(grid: Grid, plain: Population, learner: Learner) -> list[tuple[float, float]]:
    out = []
    for table, acts in zip(grid.readings, grid.actions, strict=True):
        without, learns = (seconds(partial(one.step, table)) for one in (plain, learner.population))
        out.append((without, learns))
        plain.act(acts)
        learner.population.act(acts)
    return out[WARM:]


def _cost(case: str, figure: str, both: list[tuple[float, float]], baseline: str) -> Figure:
    without, learns = (min(times) for times in zip(*both, strict=True))
    ratio, value = learns / without, learns / AGENTS * 1e6
    return Figure(
        case,
        figure,
        round(value, 4),
        "us an agent",
        baseline,
        round(ratio, 3),
        1.5,
        ratio <= 1.5,
        LESS,
        len(both),
    )


def _left_out(grid: Grid, found: StoredModel, counted: Increments) -> Iterator[Figure]:
    after = grid.concentrations.after(counted)
    for kind, tensors in (("A", found.arrays().A), ("B", found.arrays().B)):
        for i, stored in enumerate(tensors):
            counts = np.asarray(after.tensors(kind)[i])
            wanted = counts / counts.sum(axis=0)
            terms = wanted * np.log(wanted / np.maximum(np.asarray(stored), 1e-300))
            own = (found.A if kind == "A" else found.B)[i]
            words = f"left out of {kind}_{i}, {len(own.codes):,} of {wanted.size:,} entries listed"
            yield Figure(grid.name, words, round(float(terms.sum(axis=0).mean()), 6), "nats a column")


def _renewed(grid: Grid, units: NDArray[np.int64]) -> tuple[float, float]:
    begun = time.perf_counter()
    fresh = recoded(grid.model, grid.concentrations, BOARD_AGENTS, units)
    coded = time.perf_counter() - begun
    Population(fresh, BOARD_AGENTS)
    return coded, time.perf_counter() - begun


def memory_figures() -> Iterator[Figure]:
    """Yield the bytes of learning on s2: counts, room for a tick, two sets of codes, and the guard."""
    grid = Grid(GRIDS[0])
    room = total(Learner.columns(grid.model, BOARD_AGENTS, grid.concentrations, every=TICKS))
    yield at_most(GRIDS[0], f"memory, {BOARD_AGENTS:,} agents", room / 1e3, "kB", 700.0)


def figures() -> Iterator[Figure]:
    """Yield all figures."""
    yield from memory_figures()
    yield from step_figures(learned_parity.pymdp_speed(list(GRIDS)))
    yield from learned_parity.figures()
