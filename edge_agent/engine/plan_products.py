"""Planning a factor's own outcomes from the beliefs before its transition: products of A and B, made at load.

Theory of operation. What a modality with one parent promises after an action u is A B_u q, where q are the
beliefs before it. With A B_u ready, a step's outcomes need no beliefs after the step: the last step of a
policy, which most nodes of a policy tree are, has no transition left to compute.

- Dense: A B_u has as many rows as A has, where A and B_u together have those of both. It is multiplied in
  integers.
- Sparse, with equal rows: rows of A B_u under different actions are often the same row. (In a grid world
  where steps do not fail, what is seen in one cell after a step to the north is what is seen in the next one
  after a step to the west.) They are stored once, and so is the x log2 x of their value, which is most of the
  work: the entropies of all actions are sums of these, each with the number of times that it occurs.
- Sparse, with at most two entries a row (steps that fail sometimes): all rows are stored. What is saved is
  the way over the beliefs after the step.

Utility and ambiguity are carried through the transition in the same way, as a vector an action.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import Deps
from edge_agent.engine.integer_weights import pays
from edge_agent.engine.kernel_tables import background_of
from edge_agent.engine.storage import MAX_COLUMNS, Tensor, rows_of

XLOG2X_COST = 14.0  # operations of an outcome's term, without its probability
ENTRY_COST = 2.0  # of a listed entry
GAIN = 0.8  # products must cost less than this part of what they replace
SHARED_GAIN = 0.5  # and those with shared rows, whose sums are looked up
MOST_ENTRIES = 2**20
MOST_ROWS = 2**15  # that are compared with each other

_Row = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Columns and weights above the background."""
_NOTHING = (np.zeros(0, np.int64), np.zeros(0, np.float32))


@dataclass(frozen=True)
class Product:
    """Outcomes of all modalities with factor ``f`` as their only parent, from the beliefs of B's parents.

    Attributes
    ----------
    tensor : Tensor
        All rows, those of a control together, or the distinct rows of all controls. A dense product has no
        codes, since its weights are written from A and B (`blocks`).
    times : ndarray of int64, shape (controls, rows)
        How often each of the distinct rows occurs; empty where all rows are stored.
    constant : ndarray of float64, shape (controls,)
        Entropy of outcomes whose rows list nothing, nats.
    """

    tensor: Tensor
    likelihoods: tuple[Tensor, ...]
    transition: Tensor
    states: int
    times: NDArray[np.int64]
    constant: NDArray[np.float64]

    @property
    def controls(self) -> int:
        """Control values of the factor."""
        return self.transition.rows // self.states

    @property
    def groups(self) -> int:
        """Groups of rows that are applied together: controls, or all rows where they are shared."""
        return 1 if self.times.size else self.controls

    @property
    def nbytes(self) -> int:
        """Bytes of its own arrays."""
        return self.tensor.nbytes + self.times.nbytes + self.constant.nbytes

    def usual(self) -> NDArray[np.int64]:
        """Return how often each row of a sparse product occurs under most controls: the lower median."""
        return np.asarray(np.sort(self.times, axis=0)[(len(self.times) - 1) // 2])

    def blocks(self) -> Iterator[NDArray[np.float64]]:
        """Yield the rows of a dense product, float64, those of a control after the other."""
        outcomes = np.concatenate([a.matrix().astype(np.float64) for a in self.likelihoods])
        for u in range(self.controls):
            yield outcomes @ rows_of(self.transition, u * self.states, self.states)

    def carried(self, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return ``vector`` [states] through the transition: [controls, columns of B]."""
        if not self.transition.sparse:
            blocks = (rows_of(self.transition, u * self.states, self.states) for u in range(self.controls))
            return np.stack([vector.astype(np.float64) @ block for block in blocks])
        u, after, before, weight = _listed(self.transition, self.states)
        place = u * self.transition.width + before
        total = np.bincount(place, weight * vector[after], self.controls * self.transition.width)
        return total.astype(np.float64).reshape(self.controls, self.transition.width)


def products(
    A: Sequence[Tensor], B: Sequence[Tensor], A_deps: Deps, num_states: Sequence[int]
) -> dict[int, Product]:
    """Return the products that pay, by factor."""
    out = {}
    for f, (transition, states) in enumerate(zip(B, num_states, strict=True)):
        likelihoods = tuple(a for a, deps in zip(A, A_deps, strict=True) if deps == (f,))
        if not likelihoods or any(len(t.base) for t in (*likelihoods, transition)):
            continue
        if transition.sparse and all(a.sparse for a in likelihoods):
            last = all(f not in deps or deps == (f,) for deps in A_deps)
            product = _sparse(likelihoods, transition, states, last)
        else:
            product = _dense(likelihoods, transition, states)
        if product is not None:
            out[f] = product
    return out


def _dense(likelihoods: tuple[Tensor, ...], transition: Tensor, states: int) -> Product | None:
    outcomes, controls = sum(a.rows for a in likelihoods), transition.rows // states
    if transition.sparse or any(a.sparse for a in likelihoods):
        return None
    empty = transition.codes[:0]
    tensor = Tensor(
        controls * outcomes,
        transition.width,
        transition.palette[:0],
        empty,
        transition.columns,
        transition.starts,
        0.0,
    )
    replaced = states * transition.width + states * outcomes
    if not pays(tensor, outcomes) or outcomes * transition.width > GAIN * replaced:
        return None
    if tensor.rows * tensor.width > 4 * MOST_ENTRIES:
        return None
    none = np.zeros((controls, 0), np.int64)
    return Product(tensor, likelihoods, transition, states, none, np.zeros(controls))


def _listed(
    tensor: Tensor, states: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return control, row, column and weight above the background of every listed entry."""
    starts = tensor.starts.astype(np.int64)
    row = np.repeat(np.arange(tensor.rows), starts[1:] - starts[:-1])
    weight = tensor.palette[tensor.codes].astype(np.float64) - background_of(tensor)
    return row // states, row % states, tensor.columns.astype(np.int64), weight


def _sparse(likelihoods: tuple[Tensor, ...], transition: Tensor, states: int, last: bool) -> Product | None:
    outcomes, controls = sum(a.rows for a in likelihoods), transition.rows // states
    backgrounds = {background_of(a) for a in likelihoods}
    if background_of(transition) > 0 or len(backgrounds) > 1 or controls * outcomes > MOST_ROWS:
        return None
    u, after, before, weight = _listed(transition, states)
    row, column, value = _stacked(likelihoods)
    order = np.argsort(column, kind="stable")  # the entries of a column of A together
    row, value = row[order], value[order]
    ends = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=states))])
    counts = (ends[1:] - ends[:-1])[after]
    if counts.sum() > MOST_ENTRIES:
        return None
    step = np.repeat(np.arange(len(after)), counts)
    entry = ends[after[step]] + np.arange(len(step)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = (u[step] * outcomes + row[entry]) * transition.width + before[step]
    places, inverse = np.unique(place, return_inverse=True)
    values = np.bincount(inverse, weight[step] * value[entry], len(places)).astype(np.float32)
    rows, which = _distinct(places, values, controls * outcomes, transition.width)
    times = which.reshape(controls, outcomes)
    background = backgrounds.pop()
    tensor = _tensor(rows, transition.width, background)
    if tensor is None:
        return None
    found = np.stack([np.bincount(t[t >= 0], minlength=len(rows)) for t in times]).astype(np.int64)
    entropy = -background * np.log(background) if background > 0 else 0.0
    constant = (times < 0).sum(axis=1) * entropy
    product = Product(tensor, likelihoods, transition, states, found, constant)
    extra = int((found != product.usual()).sum())
    cost = ENTRY_COST * (len(tensor.codes) + tensor.rows + extra) + XLOG2X_COST * tensor.rows
    listed = sum(len(a.codes) for a in likelihoods)
    replaced = controls * (ENTRY_COST * listed + XLOG2X_COST * outcomes)
    if cost < SHARED_GAIN * replaced:
        return product
    most = max(len(columns) for columns, _ in rows)
    if not last or most > 2 or len(places) > controls * listed + len(transition.codes):
        return None
    twins = _tensor([_twin(rows[r] if r >= 0 else _NOTHING) for r in which], transition.width, background)
    if twins is None or twins.bits > 8:
        return None
    return Product(twins, likelihoods, transition, states, found[:, :0], np.zeros(controls))


def _stacked(
    likelihoods: Sequence[Tensor],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return row, column and weight of all entries, the rows of one modality below those of another."""
    parts, first = [], 0
    for a in likelihoods:
        _, row, column, value = _listed(a, a.rows)
        parts.append((first + row, column, value))
        first += a.rows
    row, column, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return row, column, value


def _distinct(
    places: NDArray[np.int64], values: NDArray[np.float32], rows: int, width: int
) -> tuple[list[_Row], NDArray[np.int64]]:
    """Return the distinct rows that list entries, and which of them each row is, -1: it lists nothing."""
    ends = np.searchsorted(places, np.arange(rows + 1) * width)
    columns = places % width
    known: dict[bytes, int] = {}
    distinct: list[_Row] = []
    which = np.full(rows, -1, np.int64)
    for r in range(rows):
        part = slice(ends[r], ends[r + 1])
        if part.start == part.stop:
            continue
        key = columns[part].tobytes() + values[part].tobytes()
        if key not in known:
            known[key] = len(distinct)
            distinct.append((columns[part], values[part]))
        which[r] = known[key]
    return distinct, which


def _twin(row: _Row) -> _Row:
    """Return a row of at most two entries with two: the kernel goes over rows of as many entries faster."""
    columns, values = row
    missing = 2 - len(values)
    return np.append(columns, [0] * missing), np.append(values, [0.0] * missing).astype(np.float32)


def _tensor(rows: Sequence[_Row], width: int, background: float) -> Tensor | None:
    if not rows:
        return None
    above = np.concatenate([values for _, values in rows])
    palette, codes = np.unique((np.float32(background) + above).astype(np.float32), return_inverse=True)
    if len(palette) > MAX_COLUMNS or (palette < 0).any():
        return None
    starts = np.concatenate([[0], np.cumsum([len(values) for _, values in rows])])
    narrow = codes.ravel().astype(np.uint8) if len(palette) <= 256 else codes.ravel().astype(np.uint16)
    columns = np.concatenate([columns for columns, _ in rows])
    return Tensor(
        len(rows),
        width,
        palette,
        narrow,
        columns.astype(np.uint16),
        starts.astype(np.uint32),
        background,
    )
