"""What planning needs of a model: policies, the tensors' shapes, and what was folded out of A and C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.plan_products import Product
from edge_agent.engine.sparse import ambiguity, expected


def groups_of(A_deps: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Return the distinct parent lists of modalities, in order of appearance."""
    return tuple(dict.fromkeys(A_deps))


@dataclass(frozen=True)
class Folds:
    """Per modality group: its parents, ``utility`` [1 or T, joint states], ``ambiguity`` [joint states]."""

    groups: tuple[tuple[int, ...], ...]
    utility: tuple[NDArray[np.float32], ...]
    ambiguity: tuple[NDArray[np.float32], ...]


def folded(arrays: ModelArrays) -> Folds:
    """Fold utility and ambiguity of modalities with the same parents into vectors, from the exact arrays."""
    groups = groups_of(arrays.A_deps)
    utilities, ambiguities = [], []
    for deps in groups:
        members = [m for m, parents in enumerate(arrays.A_deps) if parents == deps]
        size = int(np.prod([arrays.num_states[d] for d in deps]))
        timed = any(arrays.C[m].ndim == 2 for m in members)
        utility = np.zeros((arrays.policies.shape[1] if timed else 1, size))
        unclear = np.zeros(size)
        for m in members:
            utility += expected(arrays.A[m], np.atleast_2d(arrays.C[m]))
            unclear += ambiguity(arrays.A[m]).ravel()
        utilities.append(utility.astype(np.float32))
        ambiguities.append(unclear.astype(np.float32))
    return Folds(groups, tuple(utilities), tuple(ambiguities))


class Merged(NamedTuple):
    """Classes of the states of a group's parents, and the group's tensors and folds over joint classes.

    ``tensors``: the kernel's number of each modality's tensor; see ``merging``. ``steps``: which parents are
    summed out one after the other (``plan_steps``); tensors and folds are then laid out with the parents of
    the first step last, those of the second before them, and so on, and a row of a tensor is an outcome with
    all that is left after the first step. Empty: all in one step.
    """

    classes: tuple[NDArray[np.intp], ...]
    tensors: dict[int, int]
    utility: NDArray[np.float32]
    ambiguity: NDArray[np.float32]
    steps: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class PolicyTree:
    """What planning needs of a model; ``policies`` int [P, T, F], ``merged`` an entry a modality group.

    ``utility``, ``states_info_gain``: whether they count; ``novelty``: the kernel's number of the tensor with
    the information gain on the parameters of each of A and B, empty for none; ``inductive``: whether there
    are inductive values. ``integers``: the kernel's numbers of tensors that it multiplies in integers;
    ``products``: by factor, the number and the product of A and B of what that factor alone promises.
    """

    num_states: tuple[int, ...]
    num_obs: tuple[int, ...]
    num_controls: tuple[int, ...]
    A_deps: tuple[tuple[int, ...], ...]
    B_deps: tuple[tuple[int, ...], ...]
    policies: NDArray[np.int64]
    folds: Folds
    merged: tuple[Merged | None, ...]
    node_budget: int
    utility: bool = True
    states_info_gain: bool = True
    novelty: Mapping[int, int] = field(default_factory=dict)
    inductive: bool = False
    integers: frozenset[int] = frozenset()
    products: Mapping[int, tuple[int, Product]] = field(default_factory=dict)
