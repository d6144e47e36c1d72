"""Which entries of learned columns are listed: those that matter most, as many as there is room for.

Theory of operation. The largest entries of a column are listed and all others become their mean. What that
leaves is the divergence of the column, bounded from above by its chi-squared distance, which takes no
logarithms. An entry has the rank of the divergence of its column without it, and the entries of highest rank
are listed, until every column is within the tolerance or the room is used up: the worst column is then as
good as the room allows. Entries of the same value in a column are listed together or not at all.

For many agents an entry must also stand out from the mean of those below it by more than ``DEVIATIONS``
standard deviations of what sampling would leave there: the noise of a few counts in each cell is not listed.

Ranks are compared by their exponent and three bits of their mantissa: as integers, which are counted.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
DEVIATIONS = 6.0
TINY = 1e-300
_SHIFT = 49  # of a double's bits: sign, exponent and three bits of the mantissa are left
_RANKS = 1 << (64 - 1 - _SHIFT)


def cutoff(ranks: Iterable[NDArray[np.int64]], room: int, tolerance: float) -> tuple[int, bool]:
    """Return the rank from which entries are listed, and whether all columns are within the tolerance.

    Parameters
    ----------
    ranks
        Of the entries of all columns, as ``ranked`` returns them.
    room : int
        Entries that can be listed, in all columns together.
    tolerance : float
        Divergence in nats at which a column is good enough.
    """
    counts = np.zeros(_RANKS, np.int64)
    for some in ranks:
        counts += np.bincount(some.ravel(), minlength=_RANKS)
    least = int(np.float64(tolerance).view(np.int64) >> _SHIFT)
    above = np.cumsum(counts[::-1])[::-1]  # entries of this rank and higher
    fits = np.flatnonzero(above <= room)
    enough = int(fits[0]) if len(fits) else _RANKS
    return max(least, enough), enough <= least


def thresholds(ranks: NDArray[np.int64], ascending: Float, rank: int) -> Float:
    """Return the least listed value of each column, [columns]; infinite: none is listed."""
    listed = (ranks >= rank).sum(axis=0)
    least = ascending[np.minimum(len(ascending) - listed, len(ascending) - 1), np.arange(len(listed))]
    return np.where(listed > 0, least, np.inf)


def ranked(block: Float, noise: Float | None) -> tuple[NDArray[np.int64], Float]:
    """Return the ranks of each column's entries, int64 [rows, columns], and the entries, both ascending.

    ``noise`` [columns]: the variance of an entry is this times its expected value; None: no entry has any.
    """
    rows = len(block)
    ascending = np.ascontiguousarray(np.sort(block.T, axis=1).T)
    tail = np.cumsum(ascending, axis=0)
    left = np.arange(1.0, rows + 1)[:, np.newaxis]
    distance = np.square(ascending)
    np.cumsum(distance, axis=0, out=distance)
    distance *= left
    distance /= np.maximum(tail, TINY)
    distance -= tail
    np.maximum(distance, 0.0, out=distance)
    distance[0] = 0.0  # a single entry is its own mean
    if noise is not None:
        mean = tail - ascending
        mean /= np.maximum(left - 1, 1)
        above = np.square(ascending - mean)
        mean *= DEVIATIONS**2 * noise
        distance[above <= mean] = 0.0
    down = distance[::-1]
    np.minimum.accumulate(down, axis=0, out=down)
    tied = ascending[1:] == ascending[:-1]
    if tied.any():  # they have the rank of the largest of them
        last = np.where(tied, rows, np.arange(rows - 1)[:, np.newaxis])
        last = np.vstack([last, np.full((1, last.shape[1]), rows - 1)])
        down = last[::-1]
        np.minimum.accumulate(down, axis=0, out=down)
        distance = np.take_along_axis(distance, last, axis=0)
    return distance.view(np.int64) >> _SHIFT, ascending
