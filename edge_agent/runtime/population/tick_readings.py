"""The readings of one modality in the open tick, where their mean or largest stands for it (``reduce``).

Theory of operation. Each agent has room for the `MOST` newest readings of a tick, with the time at which each
was made. The result depends on which readings these are, and not on the order in which they arrived: values
are sorted before they are added. A stamped reading that comes again has the stamp of one that is there and
counts once; of two different ones with the same stamp the larger counts. Arrivals without a stamp all count.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.binding import Modality
from edge_agent.memory.arena import Column

MOST = 64
_EMPTY = -np.inf


class TickReadings:
    """The readings of one modality.

    Parameters
    ----------
    reduce : str
        What stands for the tick: their mean, or the largest.
    modality : Modality
        Its bins.
    numbers, made : ndarray of float64, shape (N, MOST)
        Numbers in the modality's unit, and monotonic seconds.
    """

    def __init__(
        self,
        reduce: Literal["mean", "max"],
        modality: Modality,
        numbers: NDArray[np.float64],
        made: NDArray[np.float64],
    ) -> None:
        self._largest = reduce == "max"
        self._modality = modality
        self._numbers = numbers
        self._made = made
        self._made[:] = _EMPTY

    @staticmethod
    def columns(size: int, count: int) -> tuple[Column, ...]:
        """Return what ``count`` of them need of the arena."""
        if not count:
            return ()
        shape = (count, size, MOST)
        return (Column("tick_numbers", shape, np.float64), Column("tick_made", shape, np.float64))

    def add(self, rows: NDArray[np.intp], number: float, made: float, stamped: bool) -> NDArray[np.bool_]:
        """Take a reading in that was made at ``made``; return for which of ``rows`` it was news."""
        news = np.zeros(len(rows), np.bool_)
        for place, row in enumerate(rows.tolist()):
            times, numbers = self._made[row], self._numbers[row]
            same = np.flatnonzero((times == made) & stamped)
            slot = int(same[0]) if len(same) else int(times.argmin())
            if (numbers[slot] < number) if len(same) else (times[slot] < made):
                times[slot], numbers[slot] = made, number
                news[place] = True
        return news

    def discard(self, rows: Any) -> None:
        """Discard the readings of some agents."""
        self._made[rows] = _EMPTY

    def close(self, rows: Any, until: float) -> None:
        """End the tick of some agents: discard what was made up to ``until``."""
        made = self._made[rows]
        self._made[rows] = np.where(made <= until, _EMPTY, made)

    def reduced(self, rows: Any, until: float) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Return which agents have readings made up to ``until`` (n,), and the bins of these (k,)."""
        made = self._made[rows]
        known = (made > _EMPTY) & (made <= until)
        has = known.any(axis=1)
        numbers, known = self._numbers[rows][has], known[has]
        largest = np.where(known, numbers, -np.inf).max(axis=1, initial=-np.inf)
        found = largest
        if not self._largest:
            total = np.sort(np.where(known, numbers, 0.0), axis=1).sum(axis=1)
            least = np.where(known, numbers, np.inf).min(axis=1, initial=np.inf)
            found = np.clip(total / known.sum(axis=1), least, largest)  # of equal readings exactly these
        codes, _ = self._modality.encode_column(found)
        return has, codes
