"""Writes the integers that the kernel multiplies dense tensors with (kernel/integers.h).

A weight is an integer from 0 to `LARGEST`, in units of the tensor's largest weight. Rows that are applied
together are a group; weights lie as they are read: [group, block of four rows, pair of columns, row, column].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.integer_weights import BLOCK_ROWS, padded
from edge_agent.engine.storage import rows_of
from edge_agent.engine.stored_model import StoredModel

LARGEST = 32767


class IntegerWeights(NamedTuple):
    """``unit``: what a weight of 1 stands for; ``group_rows``: rows that are applied together.

    ``spread``: the largest sum of a row beside `LARGEST`.
    """

    weights: NDArray[np.int16]
    unit: float
    group_rows: int
    spread: float


def weight_count(model: StoredModel) -> int:
    """Return the integers of all tensors."""
    return sum(_count(model, n) for n in model.integers)


def spread_of(weights: Sequence[IntegerWeights]) -> float:
    """Return the largest spread, a little above it: it is a bound, in single precision."""
    return max(1.0, *(w.spread for w in weights)) * (1.0 + 1e-6)


def integer_weights(model: StoredModel, room: NDArray[np.int16]) -> tuple[IntegerWeights, ...]:
    """Write the weights of all tensors into ``room``; of a tensor without integers there are none."""
    out, start = [], 0
    for n in range(len(model.tensors)):
        if n not in model.integers:
            out.append(IntegerWeights(room[:0], 1.0, _group_rows(model, n), 1.0))
            continue
        part = room[start : start + _count(model, n)]
        out.append(_written(part, list(_groups(model, n))))
        start += len(part)
    return tuple(out)


def _group_rows(model: StoredModel, n: int) -> int:
    product = model.product_of(n)
    return model.tensors[n].rows if product is None else product.tensor.rows // product.groups


def _count(model: StoredModel, n: int) -> int:
    tensor, rows = model.tensors[n], model.integers[n]
    blocks, pairs = padded(rows, tensor.width)
    return tensor.rows // rows * blocks * BLOCK_ROWS * pairs * 2


def _groups(model: StoredModel, n: int) -> Iterator[NDArray[np.float32]]:
    """Yield the groups of a tensor's rows, float32 [rows, width]."""
    product = model.product_of(n)
    if product is not None:
        yield from (group.astype(np.float32) for group in product.blocks())
        return
    tensor, rows = model.tensors[n], model.integers[n]
    yield from (rows_of(tensor, r, rows).astype(np.float32) for r in range(0, tensor.rows, rows))


def _written(room: NDArray[np.int16], groups: Iterable[NDArray[np.float32]]) -> IntegerWeights:
    groups = list(groups)
    largest, most = max(float(group.max()) for group in groups), 0
    unit = largest / LARGEST if largest > 0 else 1.0
    rows, width = groups[0].shape
    blocks, pairs = padded(rows, width)
    laid_out = room.reshape(len(groups), blocks, pairs, BLOCK_ROWS, 2)
    for group, to in zip(groups, laid_out, strict=True):
        weights = np.zeros((blocks * BLOCK_ROWS, 2 * pairs), np.int16)
        weights[:rows, :width] = np.rint(group / np.float64(unit))
        most = max(most, int(weights.sum(axis=1, dtype=np.int64).max()))
        to[:] = weights.reshape(blocks, BLOCK_ROWS, pairs, 2).transpose(0, 2, 1, 3)
    return IntegerWeights(room, unit, rows, most / LARGEST)
