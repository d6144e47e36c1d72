"""Planning over classes of states that no modality of a group tells apart.

Theory of operation. What a modality with several parents promises is computed from the joint beliefs of its
parents: as many products as joint states. States of a factor whose columns are the same in every modality of
the group (``policy_tree.groups_of``) give the same outcomes, utility and ambiguity, so their beliefs are
added first and the joint is one of classes. Unlike in ``outcome_classes`` no outcome is known yet, so classes
are fewer states than there. Where policies share beliefs, parents are then summed out in steps
(``plan_steps``), and tensors and vectors are laid out for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import Deps
from edge_agent.engine.plan_steps import Steps, steps_of
from edge_agent.engine.policy_tree import Folds, Merged
from edge_agent.engine.storage import Tensor

GAIN = 0.7  # joint classes must be fewer than this part of joint states


class PlanClasses(NamedTuple):
    """``groups``: an entry a modality group, None where it has one parent or no gain; ``tensors``: theirs."""

    groups: tuple[Merged | None, ...]
    tensors: tuple[Tensor, ...]


def merging(
    A: Sequence[Tensor],
    A_deps: Deps,
    num_states: tuple[int, ...],
    folds: Folds,
    first: int,
    apart: Sequence[int] = (),
    beliefs: Sequence[tuple[int, ...]] = (),
) -> PlanClasses:
    """Return the groups to merge or to sum in steps; their tensors are numbered from ``first`` on.

    Groups with a modality in ``apart`` are left as they are. ``beliefs``: those of all factors at every node
    of the policy tree (``plan_steps.beliefs_of``); none for no steps.
    """
    groups: list[Merged | None] = []
    tensors: list[Tensor] = []
    for deps, utility, ambiguity in zip(folds.groups, folds.utility, folds.ambiguity, strict=True):
        members = [i for i, parents in enumerate(A_deps) if parents == deps]
        if len(deps) == 1 or set(members) & set(apart):
            groups.append(None)
            continue
        shape = [num_states[d] for d in deps]
        joint = np.concatenate([A[i].matrix().reshape(-1, *shape) for i in members])
        classes, examples = [], []
        for axis in range(len(deps)):
            look = np.moveaxis(joint, 1 + axis, 0).reshape(shape[axis], -1)
            _, example, found = np.unique(look, axis=0, return_index=True, return_inverse=True)
            if len(example) == shape[axis]:  # nothing to merge: states keep their order
                example = found = np.arange(shape[axis])
            classes.append(np.asarray(found).reshape(-1))
            examples.append(example)
        sizes = [len(e) for e in examples]
        merges = np.prod(sizes) <= GAIN * np.prod(shape)
        if not merges:
            sizes, classes, examples = shape, [np.arange(n) for n in shape], [np.arange(n) for n in shape]
        columns = np.ravel_multi_index(np.ix_(*examples), shape).ravel()
        selected = [_selected(A[i], columns) if merges else A[i] for i in members]
        steps = steps_of(
            sizes,
            sum(len(t.codes) for t in selected) + len(columns),
            sum(t.rows for t in selected) + 1,
            [tuple(b[d] for d in deps) for b in beliefs],
        )
        if not merges and not steps:
            groups.append(None)
            continue
        means = np.stack([_means(v.reshape(shape), classes, sizes) for v in (*utility, ambiguity)])
        if steps:
            order, width = _order(sizes, steps)
            means, selected = means[:, order], [_in_rows(t, order, width) for t in selected]
        numbers = {i: first + len(tensors) + k for k, i in enumerate(members)}
        tensors += selected
        groups.append(Merged(tuple(classes), numbers, means[:-1], means[-1], steps))
    return PlanClasses(tuple(groups), tuple(tensors))


def _means(
    values: NDArray[np.float32], classes: list[NDArray[np.intp]], sizes: list[int]
) -> NDArray[np.float32]:
    """Return the mean of ``values`` [joint states] a joint class: they differ by rounding at most."""
    place = np.ravel_multi_index(np.ix_(*classes), sizes).ravel()
    total = np.bincount(place, values.ravel().astype(np.float64), int(np.prod(sizes)))
    return (total / np.bincount(place, minlength=len(total))).astype(np.float32)


def _selected(tensor: Tensor, columns: NDArray[np.intp]) -> Tensor:
    """Return the tensor with ``columns`` alone, in that order."""
    if not tensor.sparse:
        codes = tensor.codes.reshape(tensor.rows, tensor.width)[:, columns].ravel()
        return Tensor(tensor.rows, len(columns), tensor.palette, codes, tensor.columns, tensor.starts, 0.0)
    kept = np.full(tensor.width, -1)
    kept[columns] = np.arange(len(columns))
    place = kept[tensor.columns]
    row = np.repeat(np.arange(tensor.rows), np.diff(tensor.starts.astype(np.int64)).astype(np.int64))
    listed = place >= 0
    order = np.lexsort((place[listed], row[listed]))
    counts = np.bincount(row[listed], minlength=tensor.rows)
    return Tensor(
        tensor.rows,
        len(columns),
        tensor.palette,
        tensor.codes[listed][order],
        place[listed][order].astype(np.uint16),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32),
        tensor.background,
    )


def _order(sizes: Sequence[int], steps: Steps) -> tuple[NDArray[np.intp], int]:
    """Return the joint states with the parents of the first step running fastest, and how many those have."""
    axes = [i for step in reversed(steps) for i in step]
    order = np.arange(int(np.prod(sizes))).reshape(sizes).transpose(axes).ravel()
    return order, int(np.prod([sizes[i] for i in steps[0]]))


def _in_rows(tensor: Tensor, order: NDArray[np.intp], width: int) -> Tensor:
    """Return the tensor with its columns in ``order`` and cut into rows of ``width``."""
    parts = tensor.width // width
    if not tensor.sparse:
        codes = tensor.codes.reshape(tensor.rows, tensor.width)[:, order].ravel()
        return Tensor(
            tensor.rows * parts,
            width,
            tensor.palette,
            codes,
            tensor.columns,
            tensor.starts,
            tensor.background,
        )
    place = np.argsort(order)[tensor.columns]
    row = np.repeat(np.arange(tensor.rows), np.diff(tensor.starts.astype(np.int64)).astype(np.int64))
    row = row * parts + place // width
    listed = np.lexsort((place, row))
    counts = np.bincount(row, minlength=tensor.rows * parts)
    return Tensor(
        tensor.rows * parts,
        width,
        tensor.palette,
        tensor.codes[listed],
        (place % width)[listed].astype(np.uint16),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32),
        tensor.background,
    )
