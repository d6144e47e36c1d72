"""Our step beside pymdp's JAX on the five golden models, right after each other in the same case.

Targets are for JAX with one shared model and vmap over beliefs, the most that pymdp's own functions give;
"by hand" is the same mathematics rewritten for batches, which has no target.
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
    command = [PYTHON, ROOT / "benchmarks" / "peers" / "jax_step.py", GOLDEN / "models", name]
    peer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    yield compared(name, "batched", best, peer["vmap"], "JAX vmap over beliefs", TARGETS[name])
    by_hand = round(peer["batched"] / best, 2)
    yield Figure(name, "batched", round(best * 1e6, 4), "us", "JAX batched by hand", by_hand, better=MORE)
    yield compared(name, "one agent", alone, peer["single"], "pymdp JAX, one agent", ALONE)


CASES: dict[str, Callable[[], Iterator[Figure]]] = {name: partial(model_case, name) for name in TARGETS}
