"""Our step beside pymdp's on the five golden models, right after each other in the same case.

Targets are for JAX with one shared model and vmap over beliefs, the most that pymdp's own functions give, and
for one agent in JAX; "by hand" is the same mathematics rewritten for batches, "legacy" pymdp's NumPy agent.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.figures import MORE, Figure
from benchmarks.step import GOLDEN, arrays_of, best_of, compared, ours
from edge_agent.engine.model import Model

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "build" / "peers" / "bin" / "python"
HERE = Path(__file__).parent
TARGETS = {
    "s1_grid5_T1": 25.0,
    "s2_grid10_T1": 50.0,
    "s2_grid10_T3": 50.0,
    "s3_tmaze_T2": 25.0,
    "s4_grid10x4_T1": 50.0,
}
ALONE = 20.0


def model_case(name: str) -> Iterator[Figure]:
    """One model: batched and alone."""
    model = Model.quantized(arrays_of(name))
    best, alone = best_of(name, model), ours(name, model, 1, 1)
    peer = _timed("jax_step.py", GOLDEN / "models", name)
    legacy = _timed("legacy_step.py", GOLDEN, name)["legacy"]
    yield compared(name, "batched", best, peer["vmap"], "JAX vmap over beliefs", TARGETS[name])
    yield _beside(name, "batched", best, peer["batched"], "JAX batched by hand")
    yield compared(name, "one agent", alone, peer["single"], "pymdp JAX, one agent", ALONE)
    yield _beside(name, "one agent", alone, legacy, "pymdp legacy, one agent")


def _timed(script: str, folder: Path, name: str) -> dict[str, float]:
    command: list[str | Path] = [PYTHON, HERE / script, folder, name]
    found: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found


def _beside(case: str, figure: str, own: float, peer: float, baseline: str) -> Figure:
    ratio = float(f"{peer / own:.4g}")
    return Figure(case, figure, round(own * 1e6, 4), "us", baseline, ratio, better=MORE)


CASES: dict[str, Callable[[], Iterator[Figure]]] = {name: partial(model_case, name) for name in TARGETS}
