"""Learned tensors as they are stored: over a base, or dense.

Theory of operation. Counts make a tensor dense: beliefs are spread, and every cell gets a little. But in most
columns nearly all probability is on a few entries, and the rest are nearly the same. The entries that matter
most are listed (``selection``), and all others of a column become their mean (``storage``: over a base).
Listed entries are float32, so that a column sums to 1 as exactly as float32 does, and none is below the mean,
so that no prediction is a sum with terms below 0.

A tensor that was delivered by its entries is stored over a base, with as many entries as were planned
(``room``): what a step costs and what is stored are bounded by the plan, whatever was counted. A few agents
have room for nearly everything, since what a single agent decides depends on single counts; there a small
tensor that needs more is dense. One that was delivered dense stays so: float32 values if it is small, else
codes of 16 bits of the fixed palette (c / 4095)^4. No palette is fitted: the time is bounded by the number of
entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.counts import selection
from edge_agent.engine.quantize import PALETTES
from edge_agent.engine.storage import MAX_COLUMNS, Tensor
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Column

Float = NDArray[np.float64]
FINE, COARSE = 1e-12, 1e-3
"""Divergence of a column, nats, from which no more is listed: of a few agents, of many."""
SMALL = 4096
HELD = 2**16
FEW, FEW_PART = 64, 2
"""``FEW`` agents at most have room for half of all cells."""
MANY_TIMES, LEAST = 3, 64
"""More have room for this many times what was delivered, so that their steps stay fast; for no fewer than
``LEAST``, or half of the cells."""
Block = tuple[Float, Float | None]
"""A matrix of distributions [rows, width], and the variances of ``selection.ranked``."""
Blocks = Sequence[Block] | Iterator[Block]


class Room(NamedTuple):
    """What a learned tensor has room for: ``groups`` matrices [rows, width], ``listed`` entries; 0: dense.

    ``few``: it is for few agents.
    """

    name: str
    groups: int
    rows: int
    width: int
    listed: int
    few: bool

    @property
    def cells(self) -> int:
        """Entries of the tensor."""
        return self.groups * self.rows * self.width

    @property
    def small(self) -> bool:
        """Whether every entry may have a code of its own."""
        return self.cells <= SMALL and (self.few or not self.listed)

    @property
    def numbered(self) -> int:
        """Entries that have a code of their own, at most."""
        return self.cells if self.small else self.listed

    @property
    def columns(self) -> tuple[Column, ...]:
        """The arrays that `stored` fills."""
        if not self.listed:
            kind = ("values", np.float32) if self.small else ("codes", np.uint16)
            return (Column(f"{self.name}.{kind[0]}", (self.cells,), kind[1]),)
        return (
            Column(f"{self.name}.values", (self.numbered,), np.float32),
            Column(f"{self.name}.columns", (self.listed,), np.uint16),
            Column(f"{self.name}.starts", (self.groups * self.rows + 1,), np.uint32),
            Column(f"{self.name}.base", (self.groups, self.width), np.float32),
        )

    def table_floats(self, likelihood: bool) -> int:
        """Return the floats of its tables at most (``kernel_tables``)."""
        dense = 3 * (self.cells if self.small else PALETTES[16])
        based = 2 * (self.listed + self.width) if likelihood else 0
        return dense if not self.listed else max(dense, based) if self.small else based


def room(name: str, delivered: Tensor, groups: int, agents: int) -> Room:
    """Return the room of a tensor that was delivered as ``delivered``, of ``groups`` control values."""
    rows, cells, few = delivered.rows // groups, delivered.rows * delivered.width, agents <= FEW
    if not delivered.sparse or delivered.width > MAX_COLUMNS:
        return Room(name, groups, rows, delivered.width, 0, few)
    own = len(delivered.codes)
    if few:
        listed = max(cells // FEW_PART, 2 * own)
    else:
        listed = max(own if delivered_single(delivered) else MANY_TIMES * own, min(cells // 2, LEAST))
    return Room(name, groups, rows, delivered.width, min(listed, MAX_COLUMNS), few)


def delivered_single(tensor: Tensor) -> bool:
    """Return whether each row lists one entry: the kernel goes over such a tensor faster."""
    return bool((np.diff(tensor.starts.astype(np.int64)) == 1).all())


@cache
def palette() -> NDArray[np.float32]:
    """Return the fixed palette."""
    levels = PALETTES[16]
    out = ((np.arange(levels) / (levels - 1)) ** 4).astype(np.float32)
    out.setflags(write=False)
    return out


def stored(
    place: Room, arrays: Mapping[str, NDArray[Any]], numbers: NDArray[np.uint16], blocks: Callable[[], Blocks]
) -> Tensor:
    """Return the tensor of ``blocks``, one each group, written into ``arrays``.

    ``numbers`` is 0, 1, 2 ... up to ``Room.numbered``; `blocks` is called twice: to look, and to write. Of a
    tensor of ``HELD`` cells at most all ranks are held in between.
    """
    own = {column.name.rpartition(".")[2]: arrays[column.name] for column in place.columns}
    rows = place.groups * place.rows
    held: list[tuple[Float, NDArray[np.int64], Float]] = []
    rank = None
    if place.listed:
        found = _ranked(place, blocks)
        if place.cells <= HELD:
            held = list(found)
            found = iter(held)
        rank, within = selection.cutoff((own for _, own, _ in found), place.listed, _tolerance(place))
        rank = rank if within or not place.small else None
    if rank is None:
        none = np.zeros(0, np.uint16), np.zeros(0, np.uint32)
        size = place.rows * place.width
        for group, (block, _) in enumerate(blocks()):
            part = slice(group * size, (group + 1) * size)
            if place.small:
                own["values"][part] = block.ravel()
            else:
                own["codes"][part] = np.sqrt(np.sqrt(block.ravel())) * (PALETTES[16] - 1) + 0.5
        if place.small:
            return Tensor(rows, place.width, own["values"], numbers[: place.cells], *none, 0.0)
        return Tensor(rows, place.width, palette(), own["codes"], *none, 0.0)
    count = 0
    own["starts"][0] = 0
    for group, (block, ranks, ascending) in enumerate(held or _ranked(place, blocks)):
        marks = block >= selection.thresholds(ranks, ascending, rank)
        ways = np.maximum(place.rows - marks.sum(axis=0), 1)
        own["base"][group] = np.where(marks, 0.0, block).sum(axis=0) / ways
        places = np.flatnonzero(marks)
        columns = places % place.width
        part = slice(count, count + len(places))
        own["columns"][part] = columns
        own["values"][part] = np.maximum(block.ravel()[places] - own["base"][group][columns], 0.0)
        ends = slice(1 + group * place.rows, 1 + (group + 1) * place.rows)
        own["starts"][ends] = np.cumsum(marks.sum(axis=1)) + count
        count += len(places)
    values, where = own["values"][:count], own["columns"][:count]
    return Tensor(rows, place.width, values, numbers[:count], where, own["starts"], 0.0, own["base"])


ARRAYS = 5


def own_arrays(place: Room, tensor: Tensor) -> list[NDArray[Any]]:
    """Return what a tensor of ``stored`` consists of: values, codes, columns, starts and base."""
    coded = not place.listed and not place.small
    values = np.zeros(0, np.float32) if coded else tensor.palette
    codes = tensor.codes if coded else np.zeros(0, np.uint16)
    return [values, codes, tensor.columns, tensor.starts, tensor.base]


def limits(place: Room) -> list[NDArray[Any]]:
    """Return arrays of the types of ``own_arrays``, as long as they can be."""
    coded = not place.listed and not place.small
    return [
        np.zeros(place.numbered, np.float32),
        np.zeros(place.cells if coded else 0, np.uint16),
        np.zeros(place.listed, np.uint16),
        np.zeros(place.groups * place.rows + 1, np.uint32),
        np.zeros((place.groups, place.width), np.float32),
    ]


def taken(
    place: Room, arrays: Mapping[str, NDArray[Any]], numbers: NDArray[np.uint16], given: list[NDArray[Any]]
) -> Tensor:
    """Return the tensor of ``own_arrays``, written into ``arrays``.

    Raises
    ------
    ConfigError
        They are not what a tensor of this room consists of.
    """
    own = {column.name.rpartition(".")[2]: arrays[column.name] for column in place.columns}
    values, codes, where, starts, base = given
    rows, none = place.groups * place.rows, (np.zeros(0, np.uint16), np.zeros(0, np.uint32))
    good = all(bool((np.isfinite(one) & (one >= 0)).all()) for one in (values, base))
    if len(base):
        bounds = starts.astype(np.int64)
        good = good and base.shape == (place.groups, place.width) and len(starts) == rows + 1
        good = good and bounds[0] == 0 and bounds[-1] == len(values) == len(where)
        good = good and bool((np.diff(bounds) >= 0).all()) and bool((where < place.width).all())
    else:
        found = codes if not place.listed and not place.small else values
        good = good and len(found) == place.cells and bool((codes < PALETTES[16]).all())
    if not good:
        raise ConfigError(f"checkpoint: learned codes of {place.name} are damaged")
    if not len(base):
        if place.small:
            own["values"][:] = values
            return Tensor(rows, place.width, own["values"], numbers[: place.cells], *none, 0.0)
        own["codes"][:] = codes
        return Tensor(rows, place.width, palette(), own["codes"], *none, 0.0)
    count = len(values)
    own["values"][:count], own["columns"][:count] = values, where
    own["starts"][:], own["base"][:] = starts, base
    parts = own["values"][:count], numbers[:count], own["columns"][:count]
    return Tensor(rows, place.width, *parts, own["starts"], 0.0, own["base"])


def _tolerance(place: Room) -> float:
    return FINE if place.few else COARSE


def _ranked(place: Room, blocks: Callable[[], Blocks]) -> Iterator[tuple[Float, NDArray[np.int64], Float]]:
    for block, noise in blocks():
        yield block, *selection.ranked(block, None if place.few else noise)
