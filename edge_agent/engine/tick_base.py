"""Beliefs at the last tick boundary, from which agents decide again within a tick.

Theory of operation. A transition matrix describes one tick. An agent that decides within a tick therefore
starts each time from its beliefs at the boundary and takes all observations of the tick together: the result
does not depend on their order, and no observation counts twice. Before an agent's first decision of a tick
its beliefs are copied here; the next decision, or the step that closes the tick, copies them back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.memory.arena import Column


class TickBase:
    """The beliefs of one population at the last tick boundary.

    Parameters
    ----------
    belief : ndarray of uint8, shape (tiles, bytes of all beliefs, lanes)
        The population's own.
    base : ndarray of uint8
        Of the same shape.
    opened : ndarray of bool, shape (tiles, 1, lanes)
        Of which agents ``base`` holds the beliefs.
    """

    def __init__(self, belief: NDArray[Any], base: NDArray[Any], opened: NDArray[Any]) -> None:
        self._belief = belief
        self._base = base
        self._open = opened

    @staticmethod
    def columns(tiles: int, rows: int, lanes: int) -> tuple[Column, ...]:
        """Return what it needs of the arena."""
        return (Column("base", (tiles, rows, lanes), np.uint8), Column("open", (tiles, 1, lanes), np.bool_))

    def open(self, tile: NDArray[np.intp], lane: NDArray[np.intp]) -> None:
        """Let agents decide within the tick: their beliefs are those of the boundary."""
        known = self._open[tile, 0, lane]
        new = tile[~known], slice(None), lane[~known]
        again = tile[known], slice(None), lane[known]
        self._base[new] = self._belief[new]
        self._belief[again] = self._base[again]
        self._open[tile, 0, lane] = True

    def close(self) -> None:
        """Give all agents the beliefs of the boundary back."""
        np.copyto(self._belief, self._base, where=self._open)
        self._open[:] = False

    def codes(self) -> NDArray[np.uint8]:
        """Return the beliefs at the boundary, shaped as the population's."""
        return np.asarray(np.where(self._open, self._base, self._belief))

    @property
    def opened(self) -> NDArray[np.bool_]:
        """Which agents have decided within the tick, (tiles, lanes)."""
        return np.asarray(self._open[:, 0])
