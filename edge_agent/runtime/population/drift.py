"""Drift: how far the readings of a population are from those that its model was made of.

Theory of operation. A bundle whose converter had data states for each modality in how many ticks each bin was
seen (``seen``, `engine.binding`). Here the bins of all agents are counted in windows of a day, so that what
comes back every day is no drift. The figure of a closed window is the population stability index of its
counts against the bundle's, the largest of all modalities:

    PSI = sum over bins of (q - p) ln(q / p),  p and q with half a count added to each bin

If both are samples of one distribution, PSI is about (1/N + 1/M) times a chi-squared variable with B - 1
degrees of freedom, for N and M readings and B bins (Yurdakul and Naranjo, Statistical properties of the
population stability index, Journal of Risk Model Validation 14 (4), 2020). That holds for independent
readings; those of one agent within minutes are not, so bins are counted once per `SPACING_S`. A modality
counts once its 99.9 % point (`chance`) is at most `NOISE`, and a window is longer than a day if that takes
longer. By custom a PSI below 0.1 is no change, and above 0.25 a large one.

It costs 8 bytes per bin and population, and a count per bin every `SPACING_S`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.binding import Binding
from edge_agent.memory.arena import Column

SPACING_S = 300.0
WINDOW_S = 86_400.0
MAX_WINDOW_S = 14 * WINDOW_S
NOISE = 0.05
_Z_999 = 3.0902323
"""99.9 % point of the standard normal distribution."""

Counts = Sequence[float] | NDArray[Any]


def stability_index(expected: Counts, found: Counts) -> float:
    """Return the population stability index of two histograms of the same bins."""
    p, q = (np.asarray(counts, np.float64) + 0.5 for counts in (expected, found))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def chi_squared_999(degrees: int) -> float:
    """Return the 99.9 % point of chi-squared (Wilson and Hilferty, 1931; within 4 %)."""
    spread = 2.0 / (9.0 * degrees)
    return degrees * (1.0 - spread + _Z_999 * math.sqrt(spread)) ** 3


def chance(expected: float, found: float, bins: int) -> float:
    """Return the index that chance alone exceeds once in a thousand times, for so many readings."""
    if min(expected, found) <= 0.0 or bins < 2:
        return math.inf
    return (1.0 / expected + 1.0 / found) * chi_squared_999(bins - 1)


class DriftWindow:
    """The counts of one population.

    Parameters
    ----------
    seen : sequence of tuple
        For each modality the counts that the bundle states, () where it states none.
    counts : ndarray of uint32, shape (2, bins of all modalities)
        The open window, and the last one that closed.
    """

    def __init__(self, seen: Sequence[Sequence[float]], counts: NDArray[np.uint32]) -> None:
        self.figure: float | None = None
        """The index of the last window; None before."""
        self._seen = [np.array(row, np.float64) for row in seen]
        self._open, self._closed = counts
        self._next = self._began = -math.inf
        bounds = np.cumsum([0, *(len(row) for row in seen)]).tolist()
        self._places = [slice(a, b) for a, b in pairwise(bounds)]

    @staticmethod
    def columns(binding: Binding) -> tuple[Column, ...]:
        """Return what it needs of the arena; nothing if the bundle states no counts."""
        bins = sum(map(len, binding.seen))
        return (Column("drift", (2, bins), np.uint32),) if bins else ()

    def expect(self, seen: Sequence[Sequence[float]]) -> None:
        """Compare with another bundle's counts, in new windows; without such counts, with none."""
        fits = [len(row) for row in seen] == [len(row) for row in self._seen]
        self._seen = [
            np.array(row, np.float64) if fits else np.zeros(len(row))
            for row in (seen if fits else self._seen)
        ]
        self._open[:] = self._closed[:] = 0
        self.figure, self._began = None, -math.inf

    def note(self, observed: NDArray[Any], now: float) -> None:
        """Count bins (n, M) that a tick showed; ``now`` is monotonic seconds."""
        if now < self._next:
            return
        self._next = now + SPACING_S
        if self._began == -math.inf:
            self._began = now
        elif now - self._began >= WINDOW_S:
            self._close(now)
        for column, place in enumerate(self._places):
            if place.stop > place.start:
                codes = observed[:, column]
                self._open[place] += np.bincount(
                    codes[codes >= 0], minlength=place.stop - place.start
                ).astype(np.uint32)

    def modalities(self) -> list[tuple[int, list[float], list[int]]]:
        """Return number, expected and found counts of each modality in the last window that closed."""
        return [
            (column, self._seen[column].tolist(), self._closed[place].tolist())
            for column, place in enumerate(self._places)
            if place.stop > place.start
        ]

    def _close(self, now: float) -> None:
        """Close the window if it can tell enough, or will not."""
        certain = []
        for column, place in enumerate(self._places):
            if not self._seen[column].any():
                continue
            found, expected = self._open[place], self._seen[column]
            enough = chance(float(expected.sum()), float(found.sum()), len(found)) <= NOISE
            certain.append(stability_index(expected, found) if enough else None)
        late = now - self._began >= MAX_WINDOW_S
        if None in certain and not late:
            return
        told = [index for index in certain if index is not None]
        self.figure = max(told) if told else None
        self._closed[:] = self._open
        self._open[:] = 0
        self._began = now
