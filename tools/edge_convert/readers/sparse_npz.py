"""Tensors in a ``.npz`` that are mostly zero: their entries alone, in the layouts of SciPy.

============================  ===========================================================================
keys                          what
============================  ===========================================================================
``B_0.format``                text: ``coo``, ``csr`` or ``csc``, as ``scipy.sparse.save_npz`` writes it
``B_0.shape``                 the tensor's shape, int [dimensions]
``B_0.data``                  the entries, float [n]
``B_0.coords``                coo: their indices, int [dimensions, n]; or ``B_0.row`` and ``B_0.col``
``B_0.indices, B_0.indptr``   csr, csc: a matrix [rows, columns], the columns of a tensor flattened
============================  ===========================================================================

A matrix of csr or csc stands for A [outcomes, states of all parents], or for B [next states, previous states
× controls], C order. Nothing of SciPy is imported: its objects are recognised by their attributes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.sparse import Sparse
from edge_agent.errors import ModelError

Arrays = dict[str, NDArray[Any]]
PARTS = ("format", "shape", "data", "coords", "row", "col", "indices", "indptr")
MAX_ENTRIES = 2**36  # that a tensor's shape may claim
DENSE_ENTRIES = 2**20  # a tensor of no more is spread out: 8 MiB of float64


def entries(name: str, tensor: Any, batch: int | None) -> Arrays:
    """Return the keys of one tensor: an array, a SciPy sparse matrix or array, or a JAX BCOO.

    ``batch``: which of the first axis, None where there is no batch axis.
    """
    if hasattr(tensor, "todense") and hasattr(tensor, "indices") and hasattr(tensor, "n_batch"):
        return _bcoo(name, tensor, batch)
    if hasattr(tensor, "tocoo"):
        coo = tensor.tocoo()
        coords = np.stack(coo.coords) if hasattr(coo, "coords") else np.stack([coo.row, coo.col])
        return _coo(name, coords, coo.data, coo.shape)
    array = np.asarray(tensor, dtype=np.float64)
    return {name: array if batch is None else np.asarray(array[batch])}


def _bcoo(name: str, tensor: Any, batch: int | None) -> Arrays:
    indices, data = np.asarray(tensor.indices), np.asarray(tensor.data, np.float64)
    shape = tuple(int(n) for n in tensor.shape)
    if batch is not None and tensor.n_batch == 1:
        n = min(batch, len(data) - 1)
        indices, data, shape = indices[min(batch, len(indices) - 1)], data[n], shape[1:]
    elif batch is not None and tensor.n_batch == 0:
        mine = indices[:, 0] == batch
        indices, data, shape = indices[mine, 1:], data[mine], shape[1:]
    if data.ndim != 1 or tensor.n_batch > 1 or indices.shape[-1] != len(shape):
        return {name: np.asarray(tensor.todense(), np.float64)[() if batch is None else batch]}
    inside = (indices < np.array(shape)).all(axis=1)  # BCOO pads with indices beyond the shape
    return _coo(name, indices[inside].T, data[inside], shape)


def _coo(name: str, coords: NDArray[Any], data: NDArray[Any], shape: tuple[int, ...]) -> Arrays:
    tensor = _summed(tuple(coords.astype(np.int64)), data, shape)
    return {
        f"{name}.format": np.array("coo"),
        f"{name}.shape": np.array(shape, np.int64),
        f"{name}.coords": np.stack(np.unravel_index(tensor.places, shape)).astype(np.int32),
        f"{name}.data": tensor.values,
    }


def names(arrays: Mapping[str, NDArray[Any]]) -> set[str]:
    """Return the names of the tensors that are stored by their entries."""
    return {key.rpartition(".")[0] for key in arrays if key.rpartition(".")[2] in PARTS and "." in key}


def read(path: Path, name: str, arrays: Mapping[str, NDArray[Any]]) -> Sparse:
    """Return the tensor ``name``.

    Raises
    ------
    ModelError
        A part is missing or does not fit: the message names the file and the key.
    """

    def part(key: str, kinds: str) -> NDArray[Any]:
        if f"{name}.{key}" not in arrays:
            raise ModelError(f"{path}: {name}.{key} is missing")
        array = arrays[f"{name}.{key}"]
        if array.dtype.kind not in kinds:
            raise ModelError(f"{path}: {name}.{key} holds {array.dtype}, expected another type")
        return array

    shape = tuple(int(n) for n in part("shape", "iu").ravel())
    layout = str(part("format", "US")) if f"{name}.format" in arrays else "coo"
    data = part("data", "biuf").astype(np.float64).ravel()
    size = math.prod(shape) if shape else 0
    if not shape or min(shape) < 1 or size > MAX_ENTRIES:
        raise ModelError(f"{path}: {name}.shape is {shape}, expected 1 to {MAX_ENTRIES} entries together")
    if layout == "coo" and f"{name}.coords" in arrays:
        coords = part("coords", "iu")
    elif layout == "coo":
        coords = np.stack([part("row", "iu").ravel(), part("col", "iu").ravel()])
    elif layout in ("csr", "csc"):
        coords = _compressed(path, name, part("indices", "iu"), part("indptr", "iu"), shape, layout)
    else:
        raise ModelError(f"{path}: {name}.format is {layout!r}, expected coo, csr or csc")
    if coords.shape != (len(shape), len(data)):
        raise ModelError(f"{path}: {name}: {coords.shape} indices, expected {(len(shape), len(data))}")
    if len(data) and ((coords < 0).any() or (coords >= np.array(shape)[:, np.newaxis]).any()):
        raise ModelError(f"{path}: {name}: an index outside of shape {shape}")
    return _summed(tuple(coords.astype(np.int64)), data, shape)


def fitted(tensor: Sparse, shape: tuple[int, ...]) -> NDArray[np.float64] | Sparse:
    """Return the tensor in another shape of as many entries, as an array where it is small."""
    same = tensor.size == math.prod(shape)
    out = Sparse(shape, tensor.places, tensor.values, tensor.background) if same else tensor
    return out.dense() if out.size <= DENSE_ENTRIES else out


def _summed(coords: tuple[NDArray[np.int64], ...], data: NDArray[Any], shape: tuple[int, ...]) -> Sparse:
    """Return the tensor of entries that may be listed twice: they add up, as in SciPy."""
    places, owner = np.unique(np.ravel_multi_index(coords, shape), return_inverse=True)
    values = np.bincount(owner.ravel(), np.asarray(data, np.float64), len(places))
    kept = values != 0
    return Sparse(shape, places[kept].astype(np.int64), values[kept])


def _compressed(
    path: Path, name: str, indices: NDArray[Any], indptr: NDArray[Any], shape: tuple[int, ...], layout: str
) -> NDArray[Any]:
    lines = shape[0] if layout == "csr" else shape[-1]
    bounds = indptr.astype(np.int64)
    if len(shape) != 2 or bounds.shape != (lines + 1,) or bounds[0] != 0 or (np.diff(bounds) < 0).any():
        raise ModelError(f"{path}: {name}.indptr is no {layout} of shape {shape}")
    if bounds[-1] != indices.size:
        raise ModelError(f"{path}: {name}.indices has {indices.size} entries, expected {bounds[-1]}")
    major = np.repeat(np.arange(lines), np.diff(bounds))
    minor = indices.astype(np.int64).ravel()
    return np.stack([major, minor] if layout == "csr" else [minor, major])
