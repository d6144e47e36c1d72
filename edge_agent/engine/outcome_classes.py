"""States that an outcome leaves alike: fixed-point iteration goes over classes of them instead.

Theory of operation. Modalities with several parents couple factors, and iterating costs their joint sizes.
But once the outcome is known, many states of a factor have the same likelihood whatever the other factors are
(ten by ten places and a beacon heard at one of five strengths: at most twelve classes of places). Within such
a class beliefs keep their proportions through all iterations, so the class iterates as one state whose weight
is the sum of theirs; that is exact.

A pattern is the tuple of outcomes of all coupling modalities, 0 where missing, else 1 and up; a factor has as
many classes as its worst pattern, and those a pattern doesn't use stay empty. Soft outcomes have no pattern:
their agents iterate over all states (kernel/iterate.h).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import Deps
from edge_agent.engine.kernel_tables import tables
from edge_agent.engine.storage import Tensor

MAX_PATTERNS = 256  # the kernel keeps a pattern in a byte
GAIN = 0.5  # joint classes must be fewer than this part of joint states
COUPLINGS = 2  # a factor in more of them needs a wider range than a float's (kernel/outcome_classes.h)


class OutcomeClasses(NamedTuple):
    """What the kernel takes; ``patterns`` is 0 where there is no gain.

    ``strides`` int32 [M]: of each modality in the pattern's number, 0 where it couples nothing; ``classes``
    int32 [F]; ``order`` uint16 [patterns, states]: a factor's states, class by class; ``starts`` uint16
    [patterns, classes of all factors + F]: where they begin; ``weights`` float32 [patterns, joint classes of
    all coupling modalities]: ln-likelihoods; ``common`` float32 [patterns]: what was left out of them.
    """

    patterns: int
    strides: NDArray[np.int32]
    classes: NDArray[np.int32]
    order: NDArray[np.uint16]
    starts: NDArray[np.uint16]
    weights: NDArray[np.float32]
    common: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(a.nbytes for a in self[1:]) if self.patterns else 0


def no_classes(modalities: int, factors: int) -> OutcomeClasses:
    """Return no classes."""
    half, single = np.zeros((0, 0), np.uint16), np.zeros((0, 0), np.float32)
    return OutcomeClasses(
        0,
        np.zeros(modalities, np.int32),
        np.zeros(factors, np.int32),
        half,
        half,
        single,
        single[:, :0].ravel(),
    )


def find_classes(A: tuple[Tensor, ...], A_deps: Deps, num_states: tuple[int, ...]) -> OutcomeClasses:
    """Return the classes, or none where no modality couples factors, or where there is no gain."""
    nothing = no_classes(len(A), len(num_states))
    coupling = [i for i, deps in enumerate(A_deps) if len(deps) > 1]
    involved = [sum(f in A_deps[i] for i in coupling) for f in range(len(num_states))]
    sizes = [A[i].rows + 1 for i in coupling]
    patterns = int(np.prod(sizes))
    if not coupling or max(involved) > COUPLINGS or patterns > MAX_PATTERNS or max(num_states) > 65_535:
        return nothing
    strides = nothing.strides.copy()
    strides[coupling] = np.cumprod([1, *sizes[:-1]])
    logs = [_logarithms(A[i], [num_states[d] for d in A_deps[i]]) for i in coupling]
    found = []  # a pattern: a factor's class of every state
    for pattern in _all(sizes):
        slices = [log[o] for (log, _), o in zip(logs, pattern, strict=True)]
        found.append([_classes(f, n, coupling, A_deps, slices) for f, n in enumerate(num_states)])
    classes = np.array([max(int(p[f].max()) + 1 for p in found) for f in range(len(num_states))], np.int32)
    joint = [int(np.prod([classes[d] for d in A_deps[i]])) for i in coupling]
    if sum(joint) > GAIN * sum(A[i].width for i in coupling):
        return nothing
    order, starts, weights, common = [], [], [], []
    for pattern, members in zip(_all(sizes), found, strict=True):
        order.append(np.concatenate([np.argsort(c, kind="stable") for c in members]))
        ends = [np.searchsorted(np.sort(c), np.arange(k + 1)) for c, k in zip(members, classes, strict=True)]
        starts.append(np.concatenate(ends))
        parts = []
        for i, (log, _), o in zip(coupling, logs, pattern, strict=True):
            small = np.zeros([classes[d] for d in A_deps[i]], np.float32)
            small[np.ix_(*(members[d] for d in A_deps[i]))] = log[o]
            parts.append(small.ravel())
        weights.append(np.concatenate(parts))
        common.append(sum(background for o, (_, background) in zip(pattern, logs, strict=True) if o))
    return OutcomeClasses(
        patterns,
        strides,
        classes,
        np.array(order, np.uint16),
        np.array(starts, np.uint16),
        np.array(weights, np.float32),
        np.array(common, np.float32),
    )


def _all(sizes: list[int]) -> list[tuple[int, ...]]:
    """Return every pattern by its number: the first coupling modality varies fastest."""
    return [tuple(reversed(p)) for p in itertools.product(*(range(n) for n in reversed(sizes)))]


def _logarithms(tensor: Tensor, shape: list[int]) -> tuple[NDArray[np.float32], float]:
    """Return ln-likelihoods relative to the background, [1 + outcomes, *states], 0 first; and its own."""
    values, background = tables(tensor)
    out = np.zeros((tensor.rows + 1, tensor.width), np.float32)
    if tensor.sparse:
        row = np.repeat(np.arange(tensor.rows), np.diff(tensor.starts.astype(np.int64)).astype(np.int64))
        out[row + 1, tensor.columns] = values[2][tensor.codes]
    else:
        out[1:] = values[2][tensor.codes].reshape(tensor.rows, tensor.width)
    return out.reshape(-1, *shape), background


def _classes(
    f: int, states: int, coupling: list[int], A_deps: Deps, slices: list[NDArray[np.float32]]
) -> NDArray[np.int64]:
    """Return the class of every state of factor ``f``."""
    looks = [np.zeros((states, 0), np.float32)]
    for i, likelihood in zip(coupling, slices, strict=True):
        if f in A_deps[i]:
            looks.append(np.moveaxis(likelihood, A_deps[i].index(f), 0).reshape(states, -1))
    look = np.concatenate(looks, axis=1)
    if not look.shape[1]:
        return np.zeros(states, np.int64)
    return np.asarray(np.unique(look, axis=0, return_inverse=True)[1]).reshape(-1)
