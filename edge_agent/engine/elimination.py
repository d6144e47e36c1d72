"""Exact inference of several factors: the order of variable elimination, written as a program for the kernel.

Theory of operation. The posterior of factors that modalities observe together is a product of tables: a prior
a factor, a likelihood a modality. Factors are eliminated one after the other, each time the one whose table
(itself and all it shares a table with) is the smallest; eliminating sums it out and leaves a message to the
table of the next. On the way back each table is multiplied by what the others know, and summed to the
marginal of its factor. That is a junction tree with the tables as cliques (Lauritzen and Spiegelhalter 1988,
"Local computations with probabilities on graphical structures"; Hugin propagation).

The posterior is then a product of these marginals again (assumed density filtering): it is what the next
prediction starts from.

The program is a list of operations on rows (kernel/elimination.h), planned when the model is made. A table is
laid out with its last factor running fastest. Models whose tables are too large are refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge_agent.engine.arrays import Deps
from edge_agent.engine.elimination_plan import NONE, WORDS, Elimination
from edge_agent.errors import ModelError

LIKELIHOOD, SET, TIMES, SUM, SCALE, RATIO, MARGINAL = range(7)
MAX_ENTRIES = 65_536


def elimination(A_deps: Deps, num_states: Sequence[int]) -> Elimination:
    """Return the program; it leaves out factors that no modality joins with another.

    Raises
    ------
    ModelError
        The tables are too large; the message says how large.
    """
    order = _order(A_deps, num_states)
    entries = sum(math.prod(num_states[f] for f in table) for table in order)
    if entries > MAX_ENTRIES:
        largest = max(order, key=lambda table: math.prod(num_states[f] for f in table))
        raise ModelError(
            f"inference_algo: exact inference needs tables of {entries} entries (the largest joins factors "
            f"{sorted(largest)}), at most {MAX_ENTRIES}; fpi needs none"
        )
    return _EliminationWriter(A_deps, num_states, order).finish(entries) if order else NONE


def _order(A_deps: Deps, num_states: Sequence[int]) -> list[tuple[int, ...]]:
    """Return a table a factor in the order of elimination; the first of a table is eliminated."""
    near: dict[int, set[int]] = {f: set() for f in range(len(num_states))}
    for deps in A_deps:
        for f in deps:
            near[f] |= set(deps) - {f}
    left = {f for f in near if near[f]}
    out = []
    while left:
        f = min(left, key=lambda f: (math.prod(num_states[d] for d in near[f] | {f}), f))
        out.append((f, *sorted(near[f])))
        for d in near[f]:
            near[d] |= near[f] - {d}
            near[d] -= {f}
        left.remove(f)
    return out


class _EliminationWriter:
    """Writes the operations; rows 0 to states - 1 are the factors' weights, which become their marginals."""

    def __init__(self, A_deps: Deps, num_states: Sequence[int], order: list[tuple[int, ...]]) -> None:
        self.sizes, self.order = num_states, order
        self.ops: list[tuple[int, ...]] = []
        self.lists: list[int] = []
        self.first = [sum(num_states[:f]) for f in range(len(num_states))]
        self.rows = sum(num_states)
        place = {table[0]: i for i, table in enumerate(order)}
        joint = [math.prod(num_states[d] for d in deps) for deps in A_deps]
        self.likelihood = self._take(max(n for n, deps in zip(joint, A_deps, strict=True) if len(deps) > 1))
        self.tables = [self._take(self._size(table)) for table in order]
        self.messages = [self._take(self._size(table[1:])) for table in order]
        self.spare = self._take(max(self._size(table[1:]) for table in order))
        parents = [place[min(table[1:], key=place.__getitem__)] if table[1:] else -1 for table in order]
        members: dict[int, list[int]] = {i: [] for i in range(len(order))}
        for m, deps in enumerate(A_deps):
            if len(deps) > 1:
                members[min(place[d] for d in deps)].append(m)
        for i, table in enumerate(order):
            self._each(SET, i, self.first[table[0]], table[:1])
            for m in members[i]:
                self.ops.append((LIKELIHOOD, m, self.likelihood))
                self._each(TIMES, i, self.likelihood, A_deps[m])
            for child in range(i):
                if parents[child] == i:
                    self._each(TIMES, i, self.messages[child], order[child][1:])
            if table[1:]:
                self._each(SUM, i, self.messages[i], table[1:])
                self.ops.append((SCALE, self.messages[i], self._size(table[1:])))
            else:
                self.ops.append((SCALE, self.tables[i], self._size(table)))
        for i in reversed(range(len(order))):
            table = order[i]
            if table[1:]:
                self._each(SUM, parents[i], self.spare, table[1:])
                self.ops.append((RATIO, self.spare, self.messages[i], self._size(table[1:])))
                self._each(TIMES, i, self.spare, table[1:])
            self._each(SUM, i, self.first[table[0]], table[:1])
            self.ops.append((MARGINAL, table[0], int(not table[1:])))

    def _size(self, factors: Sequence[int]) -> int:
        return math.prod(self.sizes[f] for f in factors)

    def _take(self, rows: int) -> int:
        self.rows += rows
        return self.rows - rows

    def _each(self, op: int, number: int, other: int, factors: Sequence[int]) -> None:
        """Write an operation of a table and an array over ``factors``, whose rows begin at ``other``."""
        table = self.order[number]
        strides = {f: self._size(factors[k + 1 :]) for k, f in enumerate(factors)}
        start = len(self.lists)
        self.lists += [self.sizes[f] for f in table]
        self.lists += [strides.get(f, 0) for f in table]
        self.ops.append((op, self.tables[number], len(table), start, other, self._size(factors)))

    def finish(self, entries: int) -> Elimination:
        """Return the program."""
        ops = np.zeros((len(self.ops), WORDS), np.int32)
        for i, op in enumerate(self.ops):
            ops[i, : len(op)] = op
        return Elimination(ops, np.array(self.lists, np.int32), self.rows, entries)
