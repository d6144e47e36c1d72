"""A large tensor as its author wrote it: the entries that differ from a background, and nothing else.

Theory of operation. Transitions among thousands of states are almost all zero, and a dense float64 tensor of
them does not fit the memory of the machine that converts it. ``Sparse`` stands wherever ``ModelArrays`` has
an A or a B; the functions here are what the reference and the quantizer need of either form. Entries are kept
by their flat place in C order, shapes are those of ``arrays``: [outcomes, *states] and [states, *states,
controls].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Sparse:
    """``places`` int64 (n,), ascending and distinct, have ``values``; all other entries are
    ``background``.
    """

    shape: tuple[int, ...]
    places: NDArray[np.int64]
    values: Float
    background: float = 0.0

    @property
    def ndim(self) -> int:
        """Dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Entries, listed or not."""
        return math.prod(self.shape)

    @property
    def width(self) -> int:
        """Entries of a row: an outcome, or a next state."""
        return math.prod(self.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.places.nbytes + self.values.nbytes

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Row of each listed entry."""
        return self.places // self.width

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """Place of each listed entry in its row."""
        return self.places % self.width

    def setflags(self, write: bool) -> None:
        """Make the arrays read-only, or not, as an ndarray's."""
        self.places.setflags(write=write)
        self.values.setflags(write=write)

    def dense(self) -> Float:
        """Return the whole tensor."""
        out = np.full(self.size, self.background)
        out[self.places] = self.values
        return out.reshape(self.shape)

    def row(self, row: int) -> Float:
        """Return the tensor of one outcome, [*states]."""
        first, last = np.searchsorted(self.places, [row * self.width, (row + 1) * self.width])
        out: Float = np.full(self.width, self.background, np.float64)
        out[self.places[first:last] - row * self.width] = self.values[first:last]
        return out.reshape(self.shape[1:])

    def mapped(self, values: Float, background: float) -> Sparse:
        """Return a tensor with other values at the same places."""
        return Sparse(self.shape, self.places, values, background)

    def column_sums(self) -> Float:
        """Return the sum over rows, [*states] or [*states, controls]."""
        listed = np.bincount(self.columns, self.values - self.background, self.width)
        sums = np.asarray(listed + self.background * self.shape[0], dtype=np.float64)
        return sums.reshape(self.shape[1:])

    def control(self, u: int) -> Sparse:
        """Return the transitions under control ``u``, [states, *states]."""
        return self._controls[u]

    @cached_property
    def _controls(self) -> tuple[Sparse, ...]:
        controls = self.shape[-1]
        chosen = [self.places % controls == u for u in range(controls)]
        return tuple(
            Sparse(self.shape[:-1], self.places[c] // controls, self.values[c], self.background)
            for c in chosen
        )

    def apply(self, vectors: Sequence[Float]) -> Float:
        """Sum every row against the joint distribution of ``vectors``."""
        joint = vectors[0]
        for vector in vectors[1:]:
            joint = np.asarray(np.multiply.outer(joint, vector), dtype=np.float64).ravel()
        listed = np.bincount(self.rows, (self.values - self.background) * joint[self.columns], self.shape[0])
        out: Float = listed + self.background * joint.sum()
        return out


Weights = Any
"""``Float`` or ``Sparse``; code that does not use the functions below handles dense tensors alone."""


def from_dense(tensor: Float) -> Sparse | None:
    """Return ``tensor`` by its entries, or None where no value has more than half of them."""
    flat = tensor.reshape(-1)
    values, counts = np.unique(flat[:: max(len(flat) // 1000, 1)], return_counts=True)
    background = float(values[counts.argmax()])
    places = np.flatnonzero(flat != background)
    if 2 * len(places) >= len(flat):
        return None
    return Sparse(tensor.shape, places, flat[places], background)


def column_sums(tensor: Weights) -> Float:
    """Return the sums over the first axis."""
    if isinstance(tensor, Sparse):
        return tensor.column_sums()
    out: Float = np.asarray(tensor.sum(axis=0))
    return out


def applied(tensor: Weights, vectors: Sequence[Float]) -> Float:
    """Sum the trailing ``len(vectors)`` axes, which are all but the first, against ``vectors``."""
    if isinstance(tensor, Sparse):
        return tensor.apply(vectors)
    out = tensor
    for vector in reversed(vectors):
        out = np.tensordot(out, vector, axes=(out.ndim - 1, 0))
    return np.asarray(out, dtype=np.float64)


def controlled(tensor: Weights, u: int) -> Weights:
    """Return the transitions under control ``u``."""
    return tensor.control(u) if isinstance(tensor, Sparse) else tensor[..., u]


def clipped_log(x: Float) -> Float:
    """Return ln x, clipped from below at epsilon."""
    out: Float = np.log(np.maximum(x, EPSILON))
    return out


def log_outcome(tensor: Weights, outcome: int) -> Float:
    """Return ln A(outcome | states), [*states]."""
    return clipped_log(tensor.row(outcome) if isinstance(tensor, Sparse) else tensor[outcome])


def log_soft(tensor: Weights, soft: Float) -> Float:
    """Return the sum over outcomes of ``soft`` ln A, [*states]."""
    if not isinstance(tensor, Sparse):
        return np.asarray(np.tensordot(soft, clipped_log(tensor), axes=(0, 0)), dtype=np.float64)
    floor = float(clipped_log(np.array(tensor.background)))
    listed = soft[tensor.rows] * (clipped_log(tensor.values) - floor)
    out: Float = np.bincount(tensor.columns, listed, tensor.width) + floor * soft.sum()
    return out.reshape(tensor.shape[1:])


def ambiguity(tensor: Weights) -> Float:
    """Return the entropy of the outcomes in each state, [*states]."""
    if not isinstance(tensor, Sparse):
        out: Float = -np.asarray((tensor * clipped_log(tensor)).sum(axis=0))
        return out
    background = np.array(tensor.background)
    unlisted = float(background * clipped_log(background))
    return -tensor.mapped(tensor.values * clipped_log(tensor.values), unlisted).column_sums()


def expected(tensor: Weights, preferences: Float) -> Float:
    """Return the expectation of ``preferences`` [..., outcomes] in each state, [..., states of all
    factors].
    """
    if not isinstance(tensor, Sparse):
        out: Float = preferences @ tensor.reshape(tensor.shape[0], -1)
        return out
    rows = np.atleast_2d(preferences)
    above = tensor.values - tensor.background
    listed = [np.bincount(tensor.columns, above * c[tensor.rows], tensor.width) for c in rows]
    out = np.stack(listed) + tensor.background * rows.sum(axis=1, keepdims=True)
    return out if preferences.ndim == 2 else out[0]
