"""The plan of sums over tables of several factors that a model stores: operations and lists for the kernel.

It is apart from `engine.contraction`, which makes it, since the daemon needs that only for models whose
modalities have several parents.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORDS = 8


class Contraction(NamedTuple):
    """Operations on rows, which are numbered from the logits on: a row a state, twice, then the tables.

    ``ops`` int32 [n, 8]: the first ``counts[0]`` run once, as many as ``counts[1]`` in every iteration, the
    rest for the free energy. ``lists`` int32: sizes and strides of tables that are added to others.
    ``places`` int32 [M]: the first row of each modality's table, -1 where it has one parent. ``tables``,
    ``rows``: rows of all tables, and with partial sums.
    """

    ops: NDArray[np.int32]
    lists: NDArray[np.int32]
    places: NDArray[np.int32]
    counts: tuple[int, int]
    tables: int
    rows: int

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.ops.nbytes + self.lists.nbytes + self.places.nbytes


def no_tables(modalities: int) -> Contraction:
    """Return the plan of a model in which every modality has one parent."""
    places = np.full(modalities, -1, np.int32)
    return Contraction(np.zeros((0, WORDS), np.int32), np.zeros(0, np.int32), places, (0, 0), 0, 0)
