"""Inputs as files, the model of states and recordings, and its bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from edge_agent import Model
from edge_agent.wire import signatures
from tests.support import fan

SHM = Path("/dev/shm")
ROOT = Path(__file__).parents[2]


@contextmanager
def written(data: bytes, name: str) -> Iterator[Path]:
    """Give a file with this content for a while, in memory where there is such a place."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        yield path


@cache
def light() -> Model:
    """Return an agent that keeps a light on: two states, a sensor that errs, two controls."""
    return Model.from_arrays(
        [np.array([[0.9, 0.2], [0.1, 0.8]])],
        [np.array([[[1.0, 0.1], [1.0, 0.1]], [[0.0, 0.9], [0.0, 0.9]]])],
        [np.array([0.0, 1.0])],
        [np.array([0.5, 0.5])],
        policy_len=2,
        name="light",
    )


@cache
def light_bundle() -> bytes:
    """Return its bundle, signed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "light.eab"
        fan.write(path, light(), "light", signatures.generate("release"))
        return path.read_bytes()
