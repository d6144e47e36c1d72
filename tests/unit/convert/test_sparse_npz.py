"""Tensors by their entries, in SciPy's layouts: the same model as from whole arrays, and large ones within
bounds.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_agent.engine import Model
from edge_agent.engine.sparse import Sparse
from edge_agent.wire import npz
from edge_convert.readers import pymdp_npz, sparse_npz


def write(path: Path, arrays: dict[str, Any]) -> Path:
    path.write_bytes(npz.write({key: np.asarray(value) for key, value in arrays.items()}))
    return path


def csr(name: str, matrix: np.ndarray) -> dict[str, Any]:
    """Return what scipy.sparse.save_npz writes of a matrix, each key behind the tensor's name."""
    rows, columns = np.nonzero(matrix)
    return {
        f"{name}.format": "csr",
        f"{name}.shape": matrix.shape,
        f"{name}.data": matrix[rows, columns],
        f"{name}.indices": columns,
        f"{name}.indptr": np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(matrix)))]),
    }


def csc(name: str, matrix: np.ndarray) -> dict[str, Any]:
    turned = csr(name, matrix.T)
    return turned | {f"{name}.format": "csc", f"{name}.shape": matrix.shape}


def coo(name: str, tensor: np.ndarray) -> dict[str, Any]:
    coords = np.nonzero(tensor)
    return {f"{name}.shape": tensor.shape, f"{name}.data": tensor[coords], f"{name}.coords": np.stack(coords)}


@pytest.fixture
def ring() -> dict[str, np.ndarray]:
    """A ring of six states, two controls."""
    B = np.zeros((6, 6, 2))
    for s in range(6):
        B[(s + 1) % 6, s, 0] = B[(s - 1) % 6, s, 1] = 0.75
        B[s, s] = 0.25
    return {"A_0": np.eye(3).repeat(2, axis=1), "B_0": B, "C_0": np.array([0.0, 0.0, 1.0])}


@pytest.mark.parametrize("layout", ["coo", "csr", "csc"])
def test_each_layout_is_the_same_model(tmp_path: Path, ring: dict[str, Any], layout: str) -> None:
    whole = pymdp_npz.read(write(tmp_path / "whole.npz", ring)).model("m")
    if layout == "coo":
        parts = coo("A_0", ring["A_0"]) | coo("B_0", ring["B_0"])
    else:
        compress = csr if layout == "csr" else csc
        parts = compress("A_0", ring["A_0"]) | compress("B_0", ring["B_0"].reshape(6, 12))
    found = pymdp_npz.read(write(tmp_path / "parts.npz", parts | {"C_0": ring["C_0"]})).model("m")
    assert found.digest == whole.digest


def test_what_the_exporter_writes_of_sparse_tensors_is_read(tmp_path: Path, ring: dict[str, Any]) -> None:
    """A JAX BCOO with a batch axis, padded as JAX pads, and a SciPy matrix that lists an entry twice."""
    coords = np.stack(np.nonzero(ring["B_0"]), axis=1)
    padded = np.concatenate([coords, [[6, 6, 2]]])[np.newaxis].repeat(2, axis=0)
    values = np.append(ring["B_0"][tuple(coords.T)], 9.0)
    bcoo = SimpleNamespace(
        indices=padded,
        data=np.stack([values * 0.5, values]),
        shape=(2, 6, 6, 2),
        n_batch=1,
        todense=lambda: pytest.fail("a sparse tensor was spread out"),
    )
    rows, columns = np.nonzero(ring["A_0"])
    twice = SimpleNamespace(
        row=np.append(rows, rows), col=np.append(columns, columns), data=np.full(12, 0.5), shape=(3, 6)
    )
    matrix = SimpleNamespace(tocoo=lambda: twice)
    arrays = sparse_npz.entries("B_0", bcoo, 1) | sparse_npz.entries("A_0", matrix, None)
    source = pymdp_npz.read(write(tmp_path / "b.npz", arrays))
    assert np.array_equal(source.arrays.A[0], ring["A_0"])
    assert np.array_equal(source.arrays.B[0], ring["B_0"])


def test_a_large_ring_is_never_spread_out(tmp_path: Path) -> None:
    size = 3000
    here, there = np.arange(size), (np.arange(size) + 1) % size
    states = np.stack([np.append(there, here), np.append(here, here), np.append(here * 0, here * 0 + 1)])
    arrays = {
        "A_0": np.eye(30).repeat(100, axis=1),
        "B_0.shape": (size, size, 2),
        "B_0.coords": states,
        "B_0.data": np.ones(2 * size),
    }
    source = pymdp_npz.read(write(tmp_path / "ring.npz", arrays))
    assert isinstance(source.arrays.B[0], Sparse)
    assert source.nbytes < 2_000_000
    model: Model = source.model("ring")
    assert model.num_states == (size,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"B_0.data": None}, "B_0.data is missing"),
        ({"B_0.shape": (0, 6, 2)}, "B_0.shape is (0, 6, 2), expected 1 to"),
        ({"B_0.coords": np.zeros((2, 3), int)}, "B_0: (2, 3) indices, expected (3, 24)"),
        ({"B_0.coords": np.full((3, 24), 6)}, "B_0: an index outside of shape (6, 6, 2)"),
        ({"B_0.format": "bsr"}, "B_0.format is 'bsr', expected coo, csr or csc"),
        ({"B_0": np.zeros((6, 6, 2))}, "B_0 is there twice"),
        ({"C_0.data": np.ones(1)}, "C_0 is stored by its entries, expected only A and B"),
        ({"B_0.format": "csr", "B_0.indices": [0], "B_0.indptr": [0, 1]}, "B_0.indptr is no csr of shape"),
    ],
)
def test_parts_that_do_not_fit_are_named(
    command: Any, tmp_path: Path, ring: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    arrays: dict[str, Any] = {"A_0": ring["A_0"], **coo("B_0", ring["B_0"]), **changes}
    path = write(tmp_path / "b.npz", {key: value for key, value in arrays.items() if value is not None})
    status, _, error = command("convert", path, "-o", tmp_path / "b.eab")
    assert status == 2
    assert f"{path}: {words}" in error
