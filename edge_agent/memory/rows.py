"""Checks the agent numbers that select rows of a population's columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.errors import ObservationError


def agent_numbers(agents: ArrayLike, size: int) -> NDArray[np.int64]:
    """Return agent numbers as int64 (n,): in range and distinct."""
    array = np.asarray(agents)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ObservationError(f"agents: {array.dtype} of shape {array.shape}, expected integers (n,)")
    numbers = np.ascontiguousarray(array, dtype=np.int64)
    if not numbers.size:
        return numbers
    ascending = numbers.size == 1 or bool((numbers[1:] > numbers[:-1]).all())
    if ascending and int(numbers[0]) >= 0 and int(numbers[-1]) < size:  # distinct: no need to sort
        return numbers
    off = (numbers < 0) | (numbers >= size)
    if off.any():
        raise ObservationError(f"agents: {numbers[off][0]}, expected 0 to {size - 1}")
    values, counts = np.unique(numbers, return_counts=True)
    twice = values[counts > 1]
    if twice.size:
        raise ObservationError(f"agents: {twice[0]} stands there twice")
    return numbers
