"""The five models and reference traces that pymdp 1.0.4 made (float64, JAX)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from edge_agent.engine.arrays import ModelArrays
from edge_convert.readers import pymdp_npz

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = ("s1_grid5_T1", "s2_grid10_T1", "s2_grid10_T3", "s3_tmaze_T2", "s4_grid10x4_T1")


class Golden(NamedTuple):
    """A model and its trace; ``restarts``: ticks before which the agent starts again from D."""

    name: str
    arrays: ModelArrays
    trace: dict[str, np.ndarray[Any, Any]]
    restarts: range


def golden(name: str) -> Golden:
    arrays = pymdp_npz.read(GOLDEN / "models" / f"{name}.npz").arrays
    marginal = replace(arrays.options, sampling_mode="marginal")  # as the traces' agents chose
    with np.load(GOLDEN / "traces" / f"{name}.npz") as trace:
        restarts = range(0, 200, 10) if name.startswith("s3") else range(0)
        return Golden(name, replace(arrays, options=marginal), dict(trace), restarts)


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Golden:
    return golden(request.param)


@pytest.fixture
def load_golden() -> Callable[[str], Golden]:
    return golden
