"""Our step beside pymdp's on the golden models and models of many factors, one after the other in a case.

Targets are for JAX with one shared model and vmap over beliefs, the most that pymdp's own functions give, and
for one agent in JAX; "by hand" is the same mathematics rewritten for batches, "in lax.scan" one agent in a
compiled loop over ticks, without a call a step, "num_iter=1" an agent that was told that one factor needs one
iteration, and "legacy" pymdp's NumPy agent. ``search`` cases: a sophisticated search from the first prior.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import factored
from benchmarks.figures import MORE, Figure
from benchmarks.golden_models import GOLDEN, TICKS, arrays_of
from benchmarks.step import BATCHES, best_of, compared, median_of, ours
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population

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
FACTORED = ("factors_6x12", "factors_8x16")
FACTORED_BATCHED, FACTORED_ALONE = 25.0, 10.0
SEARCHED = ("tmaze", "grid7", "cue_chaining")
HORIZONS = (2, 3)
SEARCH = 10.0
THREADS = 2


def model_case(name: str) -> Iterator[Figure]:
    """One golden model: batched and alone."""
    model = Model.quantized(arrays_of(name))
    best, alone = best_of(name, model), ours(name, model, 1, 1)
    peer = _timed("jax_step.py", GOLDEN / "models", name)
    legacy = _timed("legacy_step.py", GOLDEN, name)["legacy"]
    yield from _batched(name, best, peer, TARGETS[name])
    yield from _alone(name, alone, peer, ALONE)
    yield _beside(name, "one agent", alone, legacy, "pymdp legacy, one agent")


def factored_case(name: str) -> Iterator[Figure]:
    """One model of many factors: batched and alone."""
    arrays = factored.arrays_of(name)
    model = Model.quantized(arrays)
    best = min(_ours(arrays, model, n, THREADS) for n in BATCHES)
    alone = _ours(arrays, model, 1, 1)
    with tempfile.TemporaryDirectory() as folder:
        factored.write(arrays, Path(folder) / f"{name}.npz")
        peer = _timed("jax_step.py", Path(folder), name)
    yield from _batched(name, best, peer, FACTORED_BATCHED)
    yield from _alone(name, alone, peer, FACTORED_ALONE)


def search_case(name: str) -> Iterator[Figure]:
    """One environment of pymdp's: a search from the first prior, by horizon."""
    for horizon in HORIZONS:
        with tempfile.TemporaryDirectory() as folder:
            peer = _timed("search_step.py", Path(folder), name, str(horizon))["search"]
            arrays = _searching(Path(folder) / f"{name}.npz", horizon)
        agent = Population(Model.quantized(arrays), 1)
        for f, d in enumerate(arrays.D):
            agent.set_beliefs(f, d[np.newaxis])
        times: list[float] = []
        end = time.perf_counter() + 1.0
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            agent.evaluate()
            times.append(time.perf_counter() - start)
        figure, baseline = f"search, horizon {horizon}", "pymdp.planning.si, one agent"
        yield compared(f"search_{name}", figure, float(np.median(times)), peer, baseline, SEARCH)


def _searching(path: Path, horizon: int) -> ModelArrays:
    """Return the model that search_step.py wrote, with the options of its search."""
    with np.load(path) as data:
        A, B, C, D = (
            [data[f"{letter}_{i}"].astype(float) for i in range(len(data.files)) if f"{letter}_{i}" in data]
            for letter in "ABCD"
        )
        A_deps, B_deps = (json.loads(str(data[key])) for key in ("A_deps", "B_deps"))
    A, B, D = ([x / x.sum(axis=0) for x in series] for series in (A, B, D))
    options = AgentOptions(
        sophisticated=True, gamma=4.0, si_horizon=horizon, si_max_nodes=1000, si_entropy_stop_threshold=0.0
    )
    return model_arrays(A, B, C, D, A_deps=A_deps, B_deps=B_deps, policy_len=1, options=options)


def _ours(arrays: ModelArrays, model: Model, agents: int, threads: int) -> float:
    """Return seconds an agent-step."""
    population = Population(model, agents, threads=threads)
    observations = factored.observations_of(arrays, model, agents, TICKS)
    return median_of(population.step, observations, population.reset, time.perf_counter) / agents


def _batched(name: str, own: float, peer: dict[str, float], target: float) -> Iterator[Figure]:
    yield compared(name, "batched", own, peer["vmap"], "JAX vmap over beliefs", target)
    if "vmap_1" in peer:
        yield _beside(name, "batched", own, peer["vmap_1"], "JAX vmap over beliefs, num_iter=1")
    yield _beside(name, "batched", own, peer["batched"], "JAX batched by hand")


def _alone(name: str, own: float, peer: dict[str, float], target: float) -> Iterator[Figure]:
    yield compared(name, "one agent", own, peer["single"], "pymdp JAX, one agent", target)
    yield _beside(name, "one agent", own, peer["scan"], "pymdp JAX, one agent in lax.scan")
    if "scan_1" in peer:
        yield _beside(name, "one agent", own, peer["single_1"], "pymdp JAX, one agent, num_iter=1")
        yield _beside(name, "one agent", own, peer["scan_1"], "pymdp JAX, one agent in lax.scan, num_iter=1")


def _timed(script: str, folder: Path, *arguments: str) -> dict[str, float]:
    command: list[str | Path] = [PYTHON, HERE / script, folder, *arguments]
    found: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found


def _beside(case: str, figure: str, own: float, peer: float, baseline: str) -> Figure:
    ratio = float(f"{peer / own:.4g}")
    return Figure(case, figure, round(own * 1e6, 4), "us", baseline, ratio, better=MORE)


CASES: dict[str, Callable[[], Iterator[Figure]]] = {
    **{name: partial(model_case, name) for name in TARGETS},
    **{name: partial(factored_case, name) for name in FACTORED},
    **{f"search_{name}": partial(search_case, name) for name in SEARCHED},
}
