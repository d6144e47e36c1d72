"""The plan of exact inference that a model stores: operations and lists for the kernel.

It is apart from `engine.elimination`, which makes it, since the daemon needs that only for models with exact
inference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORDS = 8


class Elimination(NamedTuple):
    """``ops`` int32 [n, 8] and ``lists`` int32 for the kernel; ``rows`` of scratch, ``entries`` of all
    tables.
    """

    ops: NDArray[np.int32]
    lists: NDArray[np.int32]
    rows: int
    entries: int

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.ops.nbytes + self.lists.nbytes


NONE = Elimination(np.zeros((0, WORDS), np.int32), np.zeros(0, np.int32), 0, 0)
