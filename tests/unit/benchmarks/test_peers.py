"""What the peers' programs read, without the peers: their libraries are in an environment of their own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

PROGRAM = Path(__file__).parents[3] / "benchmarks" / "peers" / "jax_step.py"


def test_tensors_are_read_in_the_order_of_their_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jax, numpy = MagicMock(), MagicMock(asarray=np.asarray, float32=np.float32)
    jax.numpy = numpy
    for name, module in (
        ("jax", jax),
        ("jax.numpy", numpy),
        ("pymdp", MagicMock()),
        ("pymdp.algos", MagicMock()),
        ("jax_factors", MagicMock()),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("jax_step", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    arrays: dict[str, Any] = {f"{letter}_{i}": np.full(2, i) for letter in "ABCD" for i in range(12)}
    arrays |= {"A_deps": "[[0]]", "B_deps": "[[0]]", "policies": np.zeros((1, 1, 1))}
    np.savez(tmp_path / "model.npz", **arrays)
    for series in program.read(tmp_path / "model.npz")[:4]:
        assert [int(one[0]) for one in series] == list(range(12))
