"""The arena: one anonymous memory mapping that contains all columns, planned and touched at start.

Theory of operation. Memory for the lifetime of a population is declared beforehand as ``Column``s. The plan
is the sum of all columns; ``edge-agent check`` prints it. The arena is mapped once at the budgeted size and
every page is written, so that the kernel cannot refuse memory later. A region is a contiguous, 64-byte
aligned part of the arena that belongs to one owner. Regions can be released and reused (first fit, neighbours
merged), so a new bundle can be placed beside the old one.
"""

from __future__ import annotations

import math
import mmap
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edge_agent.errors import BudgetError

ALIGNMENT = 64


class Column(NamedTuple):
    """An array that its owner will need: ``name``, ``shape`` in elements, ``dtype``."""

    name: str
    shape: tuple[int, ...]
    dtype: DTypeLike

    @property
    def nbytes(self) -> int:
        """Bytes of the column in the arena, with the alignment of the next one."""
        raw = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        return -(-raw // ALIGNMENT) * ALIGNMENT


Allocate = Callable[[tuple[Column, ...]], Mapping[str, NDArray[Any]]]
"""Gives columns their memory, by name."""


class Region(NamedTuple):
    """What one owner holds: byte offset in the arena, and bytes."""

    offset: int
    nbytes: int


def total(columns: Iterable[Column]) -> int:
    """Return the bytes that ``columns`` take in an arena."""
    return sum(column.nbytes for column in columns)


def apart(columns: tuple[Column, ...]) -> Mapping[str, NDArray[Any]]:
    """Return the arrays of ``columns`` in an arena of their own."""
    return Arena(total(columns)).allocate("apart", columns)


class Arena:
    """One mapping of ``nbytes`` bytes, all of them touched, shared out to named owners."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = max(-(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE, mmap.PAGESIZE)
        self._map = mmap.mmap(-1, self.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._bytes = np.frombuffer(self._map, dtype=np.uint8)
        self._bytes[:: mmap.PAGESIZE] = 0  # a write a page: the memory is ours from here on
        self._regions: dict[str, Region] = {}
        self._gaps = [Region(0, self.nbytes)]
        """The free parts, in order of address; no two of them touch."""

    def __contains__(self, owner: str) -> bool:
        return owner in self._regions

    @property
    def regions(self) -> Mapping[str, Region]:
        """Who holds what, in order of address."""
        return dict(sorted(self._regions.items(), key=lambda item: item[1].offset))

    @property
    def used(self) -> int:
        """Bytes given out."""
        return sum(region.nbytes for region in self._regions.values())

    def allocate(self, owner: str, columns: Iterable[Column]) -> dict[str, NDArray[Any]]:
        """Give ``owner`` zeroed arrays for ``columns``, by name.

        Raises
        ------
        BudgetError
            No gap is large enough; nothing was given out.
        ValueError
            ``owner`` already holds a region.
        """
        if owner in self._regions:
            raise ValueError(f"{owner} already holds a region")
        wanted = tuple(columns)
        nbytes = total(wanted)
        offset = self._allocate(owner, nbytes) if nbytes else 0
        self._regions[owner] = Region(offset, nbytes)
        arrays: dict[str, NDArray[Any]] = {}
        for column in wanted:
            dtype = np.dtype(column.dtype)
            count = math.prod(column.shape)
            flat = self._bytes[offset : offset + count * dtype.itemsize]
            flat[:] = 0
            arrays[column.name] = flat.view(dtype).reshape(column.shape)
            offset += column.nbytes
        return arrays

    def release(self, owner: str) -> None:
        """Take back what ``owner`` holds; its arrays must not be used any more."""
        offset, nbytes = self._regions.pop(owner)
        if not nbytes:
            return
        end, at = offset + nbytes, bisect_left(self._gaps, (offset,))
        if at < len(self._gaps) and self._gaps[at].offset == end:
            end += self._gaps.pop(at).nbytes
        if at and sum(self._gaps[at - 1]) == offset:
            at -= 1
            offset = self._gaps.pop(at).offset
        self._gaps.insert(at, Region(offset, end - offset))

    def _allocate(self, owner: str, nbytes: int) -> int:
        for at, (offset, free) in enumerate(self._gaps):
            if free > nbytes:
                self._gaps[at] = Region(offset + nbytes, free - nbytes)
                return offset
            if free == nbytes:
                del self._gaps[at]
                return offset
        largest = max((gap.nbytes for gap in self._gaps), default=0)
        missing = nbytes - largest
        raise BudgetError(
            f"{owner}: needs {nbytes} bytes, the largest free part of the arena has {largest}: "
            f"{missing} bytes are missing",
            missing,
        )
