"""The mixed form of a sparse transition tensor: one matrix for agents whose controls differ.

Theory of operation. Predicting many agents at once meets every control, and to apply the tensor once a
control costs U times too much. So the entries of all controls are merged by (row, column): what an entry
weighs under each control is its pattern, and tensors have few patterns (a grid world about thirty). The
kernel turns patterns into a weight an agent, once a strip, and then goes over the merged entries once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.kernel_tables import background_of
from edge_agent.engine.options import RULES
from edge_agent.engine.storage import Tensor

MAX_PATTERNS = 256
GAIN = 0.7  # the merged entries must be fewer than this part of all entries and rows


class MergedControls(NamedTuple):
    """``pattern`` float32 [patterns, U]; row ``r`` has the entries ``starts[r]:starts[r + 1]``."""

    pattern: NDArray[np.float32]
    columns: NDArray[np.uint16]
    patterns: NDArray[np.uint8]
    starts: NDArray[np.uint32]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self)


NONE = MergedControls(
    np.zeros((0, 1), np.float32), np.zeros(0, np.uint16), np.zeros(0, np.uint8), np.zeros(0, np.uint32)
)


def mixed(tensor: Tensor, states: int, rules: int = RULES) -> MergedControls:
    """Return the mixed form, or ``NONE`` where there is one control, or no gain."""
    controls = tensor.rows // states
    if not tensor.sparse or len(tensor.base) or controls == 1:
        return NONE
    counts = np.diff(tensor.starts.astype(np.int64))
    row = np.repeat(np.arange(tensor.rows), counts.astype(np.int64))
    place = (row % states) * tensor.width + tensor.columns
    places, which = np.unique(place, return_inverse=True)
    if len(places) + states > GAIN * (len(tensor.codes) + tensor.rows):
        return NONE
    weights = np.zeros((len(places), controls), np.float32)
    difference = tensor.palette.astype(np.float32) - np.float32(background_of(tensor, rules))
    weights[which, row // states] = difference[tensor.codes]
    pattern, index = np.unique(weights, axis=0, return_inverse=True)
    if len(pattern) > MAX_PATTERNS:
        return NONE
    starts = np.searchsorted(places // tensor.width, np.arange(states + 1)).astype(np.uint32)
    return MergedControls(
        np.ascontiguousarray(pattern),
        (places % tensor.width).astype(np.uint16),
        index.ravel().astype(np.uint8),
        starts,
    )
