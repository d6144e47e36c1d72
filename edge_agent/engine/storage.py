"""How a tensor lies in memory: dense codes, or a background and the entries that differ from it.

Theory of operation. A tensor P(row | column) with its column indices flattened is a matrix [rows, columns].
Dense: one code an entry. Sparse: every entry is ``background`` but those listed, row by row: entries
``starts[r]:starts[r + 1]`` have column ``columns[k]`` and code ``codes[k]``. For a transition tensor there is
such a matrix for every control value, one below the other: row u * S + s.

Over a base: a learned tensor has no value that most entries share, but every column has one that most of its
entries are near (``counts.columns``). ``base`` [control values, columns] has it, and listed entries have what
they are above it, never less: a sum of them is not below 0. Each has a code of its own. Bundles have no base.

The choice is made by counting operations with the costs below, never by timing: the same model gives the same
bytes on every machine. The unit is one multiply-add of a dense row; ``benchmarks/storage.py`` measures
ENTRY_COST (1.07 to 1.15 by instruction set), ROW_COST is an estimate.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.quantize import PALETTES, palette_codes
from edge_agent.engine.sparse import Sparse, Weights, from_dense
from edge_agent.wire import npz

ENTRY_COST = 1.15  # a listed entry costs this many dense ones: its column is looked up
ROW_COST = 0.5
MAX_COLUMNS = 65_536  # columns are stored in 16 bits
LARGE = 2**16  # entries, from which a tensor is looked at by the entries that differ from its background
HUGE = 2**22  # and from which its palette is fitted to these alone

_EMPTY_COLUMNS = np.zeros(0, dtype=np.uint16)
_EMPTY_STARTS = np.zeros(0, dtype=np.uint32)
_NO_BASE = np.zeros((0, 0), dtype=np.float32)


@dataclass(frozen=True)
class Tensor:
    """A stored tensor. ``rows`` and ``width`` are those of the matrix; ``starts`` is empty when dense, and
    ``base`` [control values, width] where there is none.
    """

    rows: int
    width: int
    palette: NDArray[np.float32]
    codes: NDArray[np.uint8] | NDArray[np.uint16]
    columns: NDArray[np.uint16]
    starts: NDArray[np.uint32]
    background: float
    base: NDArray[np.float32] = field(default_factory=lambda: _NO_BASE)

    @property
    def sparse(self) -> bool:
        """Whether only the entries that differ from the background are stored."""
        return len(self.starts) > 0

    @property
    def bits(self) -> int:
        """Bits of a code, 8 or 16."""
        return 8 * self.codes.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        parts = (self.palette, self.codes, self.columns, self.starts, self.base)
        return sum(part.nbytes for part in parts)

    def matrix(self) -> NDArray[np.float32]:
        """Return the values, float32 [rows, width]."""
        if not self.sparse:
            return self.palette[self.codes].reshape(self.rows, self.width)
        out = np.full((self.rows, self.width), self.background, dtype=np.float32)
        if len(self.base):
            out[:] = np.repeat(self.base, self.rows // len(self.base), axis=0)
        bounds = self.starts.astype(np.int64)
        row = np.repeat(np.arange(self.rows), bounds[1:] - bounds[:-1])
        listed = self.palette[self.codes]
        out[row, self.columns] = out[row, self.columns] + listed if len(self.base) else listed
        return out


def store(tensor: Weights, controls: bool, bits: int = 8) -> Tensor:
    """Quantize ``tensor`` and choose its layout; ``controls``: the last axis is the control value.

    Large tensors are stored by their entries, where they have a background, without a copy of the whole.
    """
    if not isinstance(tensor, Sparse):
        found = from_dense(tensor) if tensor.size >= LARGE else None
        if found is None or not _keeps_bits(found, bits):
            return _store_dense(tensor, controls, bits)
        tensor = found
    rows = tensor.shape[0] * (tensor.shape[-1] if controls else 1)
    width = tensor.size // rows
    listed = len(tensor.places)
    cheaper = ENTRY_COST * listed + ROW_COST * rows < rows * width
    if width > MAX_COLUMNS or not cheaper or 2 * listed >= tensor.size:
        return _store_dense(tensor.dense(), controls, bits)
    row, column = tensor.rows, tensor.columns
    if controls:
        row, column = column % tensor.shape[-1] * tensor.shape[0] + row, column // tensor.shape[-1]
    palette, codes = palette_codes(np.append(tensor.values, tensor.background), bits)
    kept = codes[:-1] != codes[-1]  # near the background is the background
    row, column, narrow = row[kept], column[kept], codes[:-1][kept]
    order = np.lexsort((column, row))
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]).astype(np.uint32)
    columns = column[order].astype(np.uint16)
    return Tensor(rows, width, palette, narrow[order], columns, starts, float(palette[codes[-1]]))


def _keeps_bits(tensor: Sparse, bits: int) -> bool:
    """Return whether storing by entries gives the bytes of storing the whole: its palette needs no fit."""
    values = np.unique(np.append(tensor.values, tensor.background).astype(np.float32))
    return len(values) <= PALETTES[bits] or tensor.size >= HUGE


def _store_dense(tensor: NDArray[np.float64], controls: bool, bits: int) -> Tensor:
    return laid_out(*palette_codes(tensor, bits), controls)


def laid_out(palette: NDArray[np.float32], codes: NDArray[Any], controls: bool) -> Tensor:
    """Return codes in a tensor's shape as they are stored: dense, or by entries where that is cheaper."""
    if controls:
        codes = np.moveaxis(codes, -1, 0)
        rows = codes.shape[0] * codes.shape[1]
    else:
        rows = codes.shape[0]
    width = codes.size // rows
    matrix = np.ascontiguousarray(codes).reshape(rows, width)
    background = int(np.bincount(matrix.ravel(), minlength=len(palette)).argmax())
    listed = matrix != background
    entries = int(listed.sum())
    if width <= MAX_COLUMNS and ENTRY_COST * entries + ROW_COST * rows < rows * width:
        starts = np.concatenate([[0], np.cumsum(listed.sum(axis=1))]).astype(np.uint32)
        columns = np.nonzero(listed)[1].astype(np.uint16)
        return Tensor(rows, width, palette, matrix[listed], columns, starts, float(palette[background]))
    return Tensor(rows, width, palette, matrix.ravel(), _EMPTY_COLUMNS, _EMPTY_STARTS, 0.0)


def rows_of(tensor: Tensor, first: int, count: int) -> NDArray[np.float64]:
    """Return ``count`` rows from ``first`` on, float64 [count, width]; the rest is not written out."""
    if not tensor.sparse:
        codes = tensor.codes[first * tensor.width : (first + count) * tensor.width]
        return tensor.palette[codes].astype(np.float64).reshape(count, tensor.width)
    bounds = tensor.starts[first : first + count + 1].astype(np.int64)
    own = slice(int(bounds[0]), int(bounds[-1]))
    out = np.full((count, tensor.width), tensor.background, np.float64)
    out[np.repeat(np.arange(count), np.diff(bounds)), tensor.columns[own]] = tensor.palette[tensor.codes[own]]
    return out


def written(tensor: Tensor, shape: tuple[int, ...], controls: bool) -> Weights:
    """Return what ``tensor`` stands for, in the shape of ``arrays``; large sparse tensors stay sparse."""
    if not tensor.sparse or len(tensor.base) or tensor.rows * tensor.width < LARGE:
        matrix = tensor.matrix().astype(np.float64)
        if not controls:
            return matrix.reshape(shape)
        return np.moveaxis(matrix.reshape(shape[-1], *shape[:-1]), 0, -1)
    row = np.repeat(np.arange(tensor.rows), np.diff(tensor.starts.astype(np.int64)).astype(np.int64))
    column = tensor.columns.astype(np.int64)
    if controls:
        states = shape[0]
        places = (row % states * tensor.width + column) * shape[-1] + row // states
    else:
        places = row * tensor.width + column
    order = np.argsort(places)
    values = tensor.palette[tensor.codes].astype(np.float64)
    return Sparse(shape, places[order], values[order], tensor.background)


def npy(array: NDArray[Any]) -> bytes:
    """Return ``array`` as the bytes of an .npy file."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return out.getvalue()


def mapped(data: bytes | memoryview) -> NDArray[Any]:
    """Return the array in the bytes of an .npy file: a read-only view, nothing is copied.

    Raises
    ------
    ValueError
        It is not a plain array in C order.
    """
    head = io.BytesIO(data[:4096])
    shape, fortran, dtype = npz.header(head)
    count = math.prod(shape)
    if fortran or dtype.hasobject or head.tell() + count * dtype.itemsize != len(data):
        raise ValueError(f".npy of {dtype} {shape} does not fill {len(data)} bytes in C order")
    array = np.frombuffer(data, dtype=dtype, count=count, offset=head.tell()).reshape(shape)
    array.setflags(write=False)
    return array


def entries(name: str, tensor: Tensor) -> dict[str, bytes]:
    """Return the bundle entries of a tensor; ``described`` gives the rest."""
    out = {f"{name}.palette.npy": npy(tensor.palette), f"{name}.codes.npy": npy(tensor.codes)}
    if tensor.sparse:
        out |= {f"{name}.columns.npy": npy(tensor.columns), f"{name}.starts.npy": npy(tensor.starts)}
    return out


def described(tensor: Tensor) -> dict[str, Any]:
    """Return what ``model.json`` says of a tensor."""
    return {
        "layout": "sparse" if tensor.sparse else "dense",
        "rows": tensor.rows,
        "width": tensor.width,
        "background": tensor.background,
        "entries": len(tensor.codes),
    } | ({} if tensor.bits == 8 else {"bits": tensor.bits})


def loaded(
    name: str, description: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], largest: float = 1.0
) -> Tensor:
    """Return the tensor of a bundle, its arrays mapped and checked; no background above ``largest``.

    Raises
    ------
    ValueError, KeyError
        The message names the entry and the rule.
    """
    rows, width = int(description["rows"]), int(description["width"])
    sparse = description["layout"] == "sparse"
    palette = _typed(f"{name}.palette.npy", arrays, np.float32)
    bits = int(description.get("bits", 8))
    if bits not in PALETTES:
        raise ValueError(f"{name}: codes of {bits} bits, expected 8 or 16")
    codes = _typed(f"{name}.codes.npy", arrays, np.uint8 if bits == 8 else np.uint16)
    columns = _typed(f"{name}.columns.npy", arrays, np.uint16) if sparse else _EMPTY_COLUMNS
    starts = _typed(f"{name}.starts.npy", arrays, np.uint32) if sparse else _EMPTY_STARTS
    if not 1 <= len(palette) <= PALETTES[bits] or not np.isfinite(palette).all() or (palette < 0).any():
        raise ValueError(f"{name}.palette.npy: expected 1 to {PALETTES[bits]} finite values from 0")
    if len(codes) and codes.max() >= len(palette):
        raise ValueError(f"{name}.codes.npy: code {codes.max()}, the palette has {len(palette)}")
    if not sparse and len(codes) != rows * width:
        raise ValueError(f"{name}.codes.npy: {len(codes)} codes, expected {rows * width}")
    if sparse:
        bounds = starts.astype(np.int64)
        if (
            len(starts) != rows + 1
            or bounds[0] != 0
            or bounds[-1] != len(codes)
            or (np.diff(bounds) < 0).any()
        ):
            raise ValueError(f"{name}.starts.npy: not {rows} ranges over {len(codes)} entries")
        if len(columns) != len(codes) or (len(columns) and columns.max() >= width):
            raise ValueError(f"{name}.columns.npy: expected {len(codes)} columns below {width}")
    background = float(description["background"])
    if not 0.0 <= background <= largest:
        raise ValueError(f"{name}: background {background}, expected 0 to {largest}")
    return Tensor(rows, width, palette, codes, columns, starts, background)


def _typed(name: str, arrays: Mapping[str, NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    array = arrays[name]
    if array.dtype != dtype or array.ndim != 1:
        raise ValueError(
            f"{name}: {array.dtype} of {array.ndim} dimensions, expected one of {np.dtype(dtype)}"
        )
    return array
