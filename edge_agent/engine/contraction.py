"""The order in which fixed-point iteration sums tables of several factors: least work, planned at load.

Theory of operation. A modality with several parents is a table of ln-likelihoods over their states,
[s1, s2, ...], once its outcome is known. An iteration needs, for every parent, the table's mean over all
other parents' beliefs: its message. Summing out one axis costs a multiply-add an entry and leaves a table
that is smaller by that axis; so

- the axes are cut into two sets: each set's messages come from the table in which the other set was summed
  out, the longest axis first, and that table is cut again. Partial sums are shared by all messages behind
  them. ``_Cuts`` looks through all cuts and takes those with the fewest multiply-adds (more than
  ``EXACT_AXES`` axes are cut in halves);
- modalities with the same parents are one table: they are added before the first iteration. A table whose
  parents are all in another is added to that one, if it then costs less over ``TURNS`` iterations; to the
  other parents' messages it adds a constant, which changes no belief.

The kernel (kernel/contraction.h) runs a list of operations on rows. Sums are in the order of the states, so
an order that was planned once gives the same bits everywhere. Bundles of rules 1 keep the order of their
release: they have tables, and no operations.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from edge_agent.engine.contraction_plan import WORDS, Contraction

Axes = tuple[int, ...]

SPREAD, SUM, PAIR, MEAN = range(4)
TURNS = 8  # iterations that are expected: beliefs that settle need fewer than num_iter
EXACT_AXES = 8


class Sum(NamedTuple):
    """``axis`` is summed out of the table over ``source``."""

    source: Axes
    axis: int


def contraction(
    A_deps: Sequence[Axes], sizes: Sequence[int], *, planned: bool = True, turns: int = TURNS
) -> Contraction:
    """Return the operations for tables over factors with ``sizes`` states.

    Parameters
    ----------
    planned : bool
        False: tables alone, without operations.
    turns : int
        Iterations that are expected; 0: no tables are added to others.
    """
    return _ContractionWriter(A_deps, sizes, turns if planned else 0).written(planned)


def summed(axes: Axes, kept: Axes, sizes: Sequence[int]) -> Iterator[Sum]:
    """Yield the sums that leave ``kept`` of ``axes``: the longest axis first, the last of equal ones."""
    for axis in sorted(set(axes) - set(kept), key=lambda d: (sizes[d], axes.index(d)), reverse=True):
        yield Sum(axes, axis)
        axes = tuple(d for d in axes if d != axis)


class _Cuts:
    """The cuts of a table with the least work."""

    def __init__(self, sizes: Axes) -> None:
        self.sizes = sizes
        self.best = functools.cache(self._best)

    def work(self, axes: Axes) -> int:
        return self.best(axes)[0] if len(axes) > 1 else 0

    def _best(self, axes: Axes) -> tuple[int, Axes, Axes]:
        return min((self._cost(axes, left, right), left, right) for left, right in self._choices(axes))

    def _choices(self, axes: Axes) -> Iterator[tuple[Axes, Axes]]:
        if len(axes) > EXACT_AXES:
            ranked = sorted(axes, key=self.sizes.__getitem__, reverse=True)
            chosen = {*ranked[::2]}
            yield tuple(d for d in axes if d in chosen), tuple(d for d in axes if d not in chosen)
            return
        for mask in range(2 ** (len(axes) - 1) - 1):  # the first axis is always left
            left = {axes[0], *(d for i, d in enumerate(axes[1:]) if mask >> i & 1)}
            yield tuple(d for d in axes if d in left), tuple(d for d in axes if d not in left)

    def _cost(self, axes: Axes, left: Axes, right: Axes) -> int:
        total = self.work(left) + self.work(right)
        for kept in (left, right):
            for source, axis in summed(axes, kept, self.sizes):
                entries = math.prod(self.sizes[d] for d in source)
                total += entries + entries // self.sizes[axis]
        return total


class _ContractionWriter:
    """Writes the operations. Tables begin behind two rows a state: logits, and room of the iteration."""

    def __init__(self, A_deps: Sequence[Axes], sizes: Sequence[int], turns: int) -> None:
        self.sizes, self.turns, self.tree = sizes, turns, _Cuts(tuple(sizes))
        self.first = [sum(sizes[:f]) for f in range(len(sizes))]
        self.ops: list[tuple[int, ...]] = []
        self.lists: list[int] = []
        self.start = self.rows = self.end = 2 * sum(sizes)
        self.tables: dict[int, Axes] = {}  # by their first row
        self.places = [-1] * len(A_deps)
        known: dict[Axes, int] = {}
        for m, deps in enumerate(A_deps):
            if len(deps) == 1:
                continue
            if deps not in known or not turns:
                known[deps] = self._take(deps)
            self.places[m] = known[deps]
            self.tables[known[deps]] = deps

    def written(self, planned: bool) -> Contraction:
        """Return the operations."""
        states, tables = 2 * sum(self.sizes), self.rows - self.start
        counts = (0, 0)
        if planned:
            left = self._together() if self.turns else self.tables
            once = len(self.ops)
            for row, axes in left.items():
                self._messages(axes, row)
            counts = (once, len(self.ops) - once)
            for row, axes in left.items():
                self._mean(axes, row)
        ops = np.zeros((len(self.ops), WORDS), np.int32)
        for i, op in enumerate(self.ops):
            ops[i, : len(op)] = op
        lists, places = np.array(self.lists, np.int32), np.array(self.places, np.int32)
        return Contraction(ops, lists, places, counts, tables, self.end - states)

    def _entries(self, axes: Axes) -> int:
        return math.prod(self.sizes[d] for d in axes)

    def _take(self, axes: Axes) -> int:
        self.rows += self._entries(axes)
        self.end = max(self.end, self.rows)
        return self.rows - self._entries(axes)

    def _together(self) -> dict[int, Axes]:
        """Add tables to others that have all their axes; return those that are left."""
        left = {}
        for row, axes in sorted(self.tables.items(), key=lambda table: len(table[1])):  # narrow ones first
            wider = [(self._entries(d), r, d) for r, d in self.tables.items() if set(axes) < set(d)]
            entries, into, others = min(wider, default=(0, 0, axes))
            if not wider or 2 * entries >= self.turns * self.tree.work(axes):
                left[row] = axes
                continue
            strides = {f: self._entries(axes[i + 1 :]) for i, f in enumerate(axes)}
            self.ops.append((SPREAD, into, row, len(others), len(self.lists)))
            self.lists += [*(self.sizes[f] for f in others), *(strides.get(f, 0) for f in others)]
        return dict(sorted(left.items()))

    def _messages(self, axes: Axes, row: int) -> None:
        if len(axes) == 2:
            a, b = axes
            self.ops.append((PAIR, row, self.sizes[a], self.sizes[b], self.first[a], self.first[b]))
            return
        _, left, right = self.tree.best(axes)
        for kept in (left, right):
            end = self.rows
            place, rest = row, axes
            for source, axis in summed(axes, kept, self.sizes):
                rest = tuple(d for d in source if d != axis)
                last = len(rest) == 1
                out = self.first[rest[0]] if last else self._take(rest)
                self._sum(out, place, source, axis, last)
                place = out
            if len(kept) > 1:
                self._messages(rest, place)
            self.rows = end

    def _sum(self, out: int, row: int, source: Axes, axis: int, adds: bool) -> None:
        at = source.index(axis)
        outside, inside = self._entries(source[:at]), self._entries(source[at + 1 :])
        self.ops.append((SUM, out, row, outside, self.sizes[axis], inside, self.first[axis], int(adds)))

    def _mean(self, axes: Axes, row: int) -> None:
        end = self.rows
        longest = max(axes, key=lambda d: (self.sizes[d], d))
        shortest = min((d for d in axes if d != longest), key=lambda d: (self.sizes[d], d))
        for source, axis in summed(axes, (shortest,), self.sizes):
            out = self._take(tuple(d for d in source if d != axis))
            self._sum(out, row, source, axis, False)
            row = out
        self.ops.append((MEAN, row, self.sizes[shortest], self.first[shortest]))
        self.rows = end
