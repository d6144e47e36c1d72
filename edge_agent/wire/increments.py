"""What a population counted while it learned, as a record and as bytes.

Theory of operation. Increments are integers: one count of a tensor is 2^bits units, so that they are added
without an order (engine/counts says how they come about). They are of a model, named by its digest; what is
counted and in which shape stands with them. As bytes: a line of JSON, then the cells that are not 0, their
distances and their values, byte plane by byte plane, compressed. Reading is bounded by what the header says,
and the header by ``MAX_CELLS``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError

MAGIC = "edge-agent counts 1"
MAX_CELLS = 2**26
MAX_HEADER = 2**16
MAX_BITS = 48
CAPACITY_BITS = 62
MAX_RANK = 32
ITEM_BYTES = 12
"""Of a listed cell: 4 of its distance from the one before, 8 of its units."""
_NAME = re.compile(r"[ABD]_(0|[1-9][0-9]?)")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Counts(NamedTuple):
    """A tensor that is counted: A [O, *states], B [U, S, *states], D [S]; one count is 2^``bits`` units."""

    name: str
    shape: tuple[int, ...]
    bits: int

    @property
    def cells(self) -> int:
        """Cells of the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Increments:
    """Checked when made.

    Attributes
    ----------
    model : str
        Digest of the model under which was counted.
    tensors : tuple of Counts
        What was counted, in the order of ``units``.
    updates : int
        Ticks of agents; no tensor has more counts.
    units : ndarray of int64, shape (cells,)
        From 0; read-only.

    Raises
    ------
    ModelError
        The message names the tensor and the rule.
    """

    model: str
    tensors: tuple[Counts, ...]
    updates: int
    units: NDArray[np.int64]

    def __post_init__(self) -> None:
        cells = sum(tensor.cells for tensor in self.tensors)
        if self.units.dtype != np.int64 or self.units.shape != (cells,):
            raise ModelError(f"increments: {self.units.dtype} {self.units.shape}, expected int64 ({cells},)")
        finest = max((tensor.bits for tensor in self.tensors), default=0)
        if not 0 <= self.updates <= 1 << (CAPACITY_BITS - finest):
            raise ModelError(
                f"increments: {self.updates} updates, expected 0 to {1 << (CAPACITY_BITS - finest)}"
            )
        for tensor, part in zip(self.tensors, _parts(self.tensors, self.units), strict=True):
            if part.size and part.min() < 0:
                raise ModelError(f"increments: {tensor.name} has {part.min()} units, expected 0 or more")
        # Each cell is bounded first: the sums cannot overflow then.
        largest = [int(part.max(initial=0)) for part in _parts(self.tensors, self.units)]
        self._bound(largest)
        self._bound(self.masses)
        self.units.setflags(write=False)

    def _bound(self, units: Sequence[int]) -> None:
        for tensor, found in zip(self.tensors, units, strict=True):
            if found > self.updates << tensor.bits:
                raise ModelError(f"increments: {tensor.name} has more counts than {self.updates} updates")

    @cached_property
    def masses(self) -> tuple[int, ...]:
        """Units of each tensor."""
        return masses_of(self.tensors, self.units)

    @property
    def whole(self) -> bool:
        """Whether each tensor has whole counts: what an engine counted has."""
        return all(
            mass % (1 << tensor.bits) == 0 for mass, tensor in zip(self.masses, self.tensors, strict=True)
        )

    @property
    def mass(self) -> float:
        """Counts of all tensors together."""
        return sum(mass / (1 << tensor.bits) for mass, tensor in zip(self.masses, self.tensors, strict=True))

    def counts(self, name: str) -> NDArray[np.float64]:
        """Return the counts of a tensor in its shape, float64."""
        for tensor, part in zip(self.tensors, _parts(self.tensors, self.units), strict=True):
            if tensor.name == name:
                return part.reshape(tensor.shape) / float(1 << tensor.bits)
        raise KeyError(name)

    def like(self, other: Increments) -> bool:
        """Whether both count the same tensors of the same model."""
        return (self.model, self.tensors) == (other.model, other.tensors)

    def __add__(self, other: Increments) -> Increments:
        """Return the sum; integers are added, so no order changes it."""
        if not self.like(other):
            raise ModelError(
                f"increments: of model {other.model[:12]}, expected {self.model[:12]} and its tensors"
            )
        return Increments(self.model, self.tensors, self.updates + other.updates, self.units + other.units)

    def encoded(self) -> bytes:
        """Return the bytes; ``decoded`` reads them."""
        places = np.flatnonzero(self.units)
        values = self.units[places]
        body = pack(places, values, 6)
        head = {
            "magic": MAGIC,
            "model": self.model,
            "tensors": [[t.name, list(t.shape), t.bits] for t in self.tensors],
            "updates": self.updates,
            "listed": len(places),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        return json.dumps(head, separators=(",", ":")).encode("ascii") + b"\n" + body

    @classmethod
    def decoded(cls, data: bytes) -> Self:
        """Return what ``encoded`` gave.

        Raises
        ------
        ModelError
            It is damaged, or not increments; no more memory was used than its header may ask for.
        """
        end = data.find(b"\n", 0, MAX_HEADER)
        if end < 0:
            raise ModelError("increments: no header")
        try:
            head = json.loads(data[:end])
            magic, model, updates, listed = (head[key] for key in ("magic", "model", "updates", "listed"))
            digest, tensors = head["sha256"], tuple(_described(item) for item in head["tensors"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelError("increments: the header is not one of increments") from error
        cells = sum(tensor.cells for tensor in tensors)
        if magic != MAGIC or not (isinstance(model, str) and _DIGEST.fullmatch(model)):
            raise ModelError(f"increments: {str(magic)[:40]!r}, expected {MAGIC!r} and the digest of a model")
        if not (_integer(updates) and _integer(listed) and 0 <= listed <= cells <= MAX_CELLS):
            raise ModelError(
                f"increments: updates or listed cells are out of range, at most {MAX_CELLS} cells"
            )
        if len({tensor.name for tensor in tensors}) != len(tensors):
            raise ModelError("increments: a tensor stands there twice")
        body = data[end + 1 :]
        if hashlib.sha256(body).hexdigest() != digest:
            raise ModelError("increments: damaged")
        return cls(model, tensors, updates, _units(body, cells, listed))


def masses_of(tensors: Sequence[Counts], units: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the units of each tensor."""
    return tuple(_total(part) for part in _parts(tensors, units))


def _parts(tensors: Sequence[Counts], units: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    ends = np.cumsum([tensor.cells for tensor in tensors])
    return np.split(units, ends[:-1]) if tensors else []


def pack(places: NDArray[np.int64], units: NDArray[np.int64], level: int) -> bytes:
    """Return listed cells as bytes: distances and units, byte plane by byte plane, by zlib at ``level``."""
    gaps = np.diff(places, prepend=-1)
    return zlib.compress(_planes(gaps.astype("<u4")) + _planes(units.astype("<i8")), level)


def unpack(data: bytes, cells: int, listed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return places and units, int64 (listed,), that ``pack`` gave; places ascend and are below ``cells``.

    Raises
    ------
    ValueError
        It is something else. No more is unpacked than ``listed`` cells take.
    """
    reader = zlib.decompressobj()
    try:
        plain = reader.decompress(data, ITEM_BYTES * listed + 1)
    except zlib.error as error:
        raise ValueError("damaged") from error
    if len(plain) != ITEM_BYTES * listed or not reader.eof or reader.unused_data:
        raise ValueError(f"not {listed} listed cells")
    gaps = _from_planes(plain[: 4 * listed], 4).view("<u4").astype(np.int64)
    units = _from_planes(plain[4 * listed :], 8).view("<i8").astype(np.int64)
    places = np.cumsum(gaps) - 1
    if listed and ((gaps < 1).any() or places[-1] >= cells):
        raise ValueError(f"cells out of order or beyond {cells}")
    return places, units


def _units(body: bytes, cells: int, listed: int) -> NDArray[np.int64]:
    try:
        places, values = unpack(body, cells, listed)
    except ValueError as error:
        raise ModelError(f"increments: {error}") from error
    if (values <= 0).any():
        raise ModelError("increments: a listed cell has no units")
    units = np.zeros(cells, np.int64)
    units[places] = values
    return units


def _described(item: list[Any]) -> Counts:
    name, shape, bits = item
    good = isinstance(name, str) and _NAME.fullmatch(name) and _integer(bits) and 1 <= bits <= MAX_BITS
    if not good or not isinstance(shape, list) or not 1 <= len(shape) <= MAX_RANK:
        raise ValueError(name)
    if not all(_integer(n) and 1 <= n <= MAX_CELLS for n in shape) or math.prod(shape) > MAX_CELLS:
        raise ValueError(name)
    return Counts(name, tuple(shape), bits)


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _total(part: NDArray[np.int64]) -> int:
    """Return the exact sum of values from 0: halves of them cannot overflow."""
    return (int((part >> 31).sum()) << 31) + int((part & (2**31 - 1)).sum())


def _planes(array: NDArray[np.generic]) -> bytes:
    """Return the first bytes of all values, then the second, and so on: they compress better."""
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1, array.dtype.itemsize).T.tobytes()


def _from_planes(data: bytes, itemsize: int) -> NDArray[np.uint8]:
    """Return the bytes of the values that ``_planes`` took apart."""
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(itemsize, -1).T).reshape(-1)
