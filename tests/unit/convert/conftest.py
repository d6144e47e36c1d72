"""A model small enough to convert in every test, and the command line as a function."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_convert.cli import main

Command = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``edge-convert ARGUMENTS --json``; return status, result (None where there is none), and errors."""

    def run(*arguments: object) -> tuple[int, Any, str]:
        capsys.readouterr()
        status = main([*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        return status, json.loads(out) if out else None, err

    return run


@pytest.fixture
def light() -> dict[str, Any]:
    """Arrays of an agent that keeps a light on: two states, a sensor that errs, two controls (off, on)."""
    return {
        "A_0": np.array([[0.9, 0.2], [0.1, 0.8]]),
        "B_0": np.array([[[1.0, 0.1], [1.0, 0.1]], [[0.0, 0.9], [0.0, 0.9]]]),
        "C_0": np.array([0.0, 1.0]),
        "D_0": np.array([0.5, 0.5]),
    }


@pytest.fixture
def source(tmp_path: Path, light: dict[str, Any]) -> Path:
    path = tmp_path / "light.npz"
    np.savez(path, **light)
    return path
