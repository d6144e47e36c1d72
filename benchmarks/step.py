"""What a step costs, beside NumPy's, on the five golden models; dense models beside floats.

pymdp stands beside it in `benchmarks.peers`, which needs an environment of its own. The loop that ours is
compared with is ``engine/reference.py``: NumPy in float64, one agent after the other. Each side has one core,
except where threads are the question. Agents follow the
reference traces from different ticks, ten ticks from D on, again and again; times are medians. Figures
``*_us`` are microseconds an agent-step at the best batch of that side.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import dense, limit
from benchmarks.cases import run
from benchmarks.figures import MORE, Figure, at_least, at_most
from benchmarks.golden_models import MODELS, TICKS, arrays_of, observations_of
from benchmarks.numpy_step import NumpyStep
from benchmarks.throughput import Throughput
from edge_agent.engine import reference
from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population

LOOP = "a NumPy loop over agents"
SECONDS = 1.0
BATCHES = (256, 1024, 4096)


def median_of(
    step: Callable[[np.ndarray], object],
    observations: np.ndarray,
    reset: Callable[[], object],
    clock: Callable[[], float],
) -> float:
    """Return the median seconds of a step over whole runs of ten ticks."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 2 * TICKS:
        reset()
        for tick in observations:
            start = clock()
            step(tick)
            times.append(clock() - start)
    return statistics.median(times)


def ours(
    name: str, model: Model, agents: int, threads: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return seconds an agent-step; ``clock`` may be the thread's, for what has one thread."""
    population = Population(model, agents, threads=threads)
    return median_of(population.step, observations_of(name, agents), population.reset, clock) / agents


def compared(case: str, figure: str, own: float, peer: float, baseline: str, target: float) -> Figure:
    """Return our microseconds, and how many times as long the peer takes."""
    ratio = round(peer / own, 2)
    return Figure(case, figure, round(own * 1e6, 4), "us", baseline, ratio, target, ratio >= target, MORE)


def best_of(
    name: str, model: Model, threads: int = 2, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return seconds an agent-step at the best batch."""
    return min(ours(name, model, n, threads, clock) for n in BATCHES)


def loop_of(arrays: ModelArrays, name: str) -> float:
    """Return seconds a step of one agent in NumPy, float64."""
    beliefs: list[np.ndarray] = []

    def reset() -> None:
        beliefs[:] = arrays.D

    def step(tick: np.ndarray) -> None:
        decision = reference.step(arrays, beliefs, tick[0].tolist())
        beliefs[:] = reference.predict(arrays, decision.qs, decision.act.tolist())

    return median_of(step, observations_of(name, 1), reset, time.thread_time)


def model_case(name: str) -> Iterator[Figure]:
    """One model: batched and alone, beside a NumPy loop; one core each, by the thread's clock."""
    arrays = arrays_of(name)
    model = Model.quantized(arrays)
    best = best_of(name, model, 1, time.thread_time)
    alone, loop = ours(name, model, 1, 1, time.thread_time), loop_of(arrays, name)
    for figure, seconds in (("agent_step_us", best), ("one_agent_us", alone)):
        ratio = float(f"{loop / seconds:.3g}")
        yield Figure(name, figure, round(seconds * 1e6, 4), "us", LOOP, ratio, better=MORE)


def numpy_case() -> Iterator[Figure]:
    """NumPy float32, batched, fused, preallocated, on s2_grid10_T1; one core each, by the thread's clock.

    With two, BLAS waits in a busy loop for a core that something else has, and the ratio means nothing.
    """
    name = "s2_grid10_T1"
    arrays = arrays_of(name)
    peer = float("inf")
    with threadpool_limits(1):
        for n in BATCHES:
            numpy_step = NumpyStep(arrays, n)
            flat = observations_of(name, n)[:, :, 0]
            peer = min(peer, median_of(numpy_step.step, flat, lambda: None, time.thread_time) / n)
    best = best_of(name, Model.quantized(arrays), 1, time.thread_time)
    yield compared(name, "batch_vs_numpy", best, peer, "NumPy float32", 10.0)


def threads_case() -> Iterator[Figure]:
    """Two threads beside one, at the ten thousand agents that a board is meant for, and at fewer.

    A call takes some 20 us to wake the second thread and to wait for it: the fewer agents, the more that is.
    """
    name = "s2_grid10_T1"
    model = Model.quantized(arrays_of(name))
    gain = {agents: ours(name, model, agents, 1) / ours(name, model, agents, 2) for agents in (10_000, 4096)}
    yield at_least(name, "threads_2_vs_1", gain[10_000], "x", 1.8)
    yield Figure(name, "threads_2_vs_1_at_4096", round(gain[4096], 3), "x", better=MORE)


def scale_case() -> Iterator[Figure]:
    """Ten thousand and a hundred thousand agents beside a thousand."""
    name = "s2_grid10_T1"
    model = Model.quantized(arrays_of(name))
    thousand = ours(name, model, 1000, 1, time.thread_time)
    for agents, limit_ in ((10_000, 1.10), (100_000, 1.25)):
        ratio = ours(name, model, agents, 1, time.thread_time) / thousand
        yield at_most(name, f"us_at_{agents}_vs_1000", ratio, "x", limit_)


def memory_case() -> Iterator[Figure]:
    """Bytes per agent with a history of 64 ticks, and bytes of the model."""
    model = Model.quantized(arrays_of("s2_grid10_T1"))
    agents = 10_000
    columns = Population.columns(model, agents)
    state = sum(c.nbytes for c in columns if c.name in ("belief", "action", "free_energy")) / agents
    history = 64 * (len(model.A) + len(model.B)) + sum(model.num_states)  # and the beliefs before it
    yield at_most("s2_grid10_T1", "bytes_per_agent", state + history, "B", 400)
    yield Figure("s2_grid10_T1", "state_bytes_per_agent", round(state, 1), "B")
    yield at_most("s2_grid10_T1", "model_bytes", model.nbytes, "B", 16_000)


def limit_case() -> Iterator[Figure]:
    """How much of the cores' vector throughput a step uses, and its traffic."""
    core = Throughput()
    for name in MODELS:
        model = Model.quantized(arrays_of(name))
        before = core.measured()
        seconds = ours(name, model, 1024, 1, time.thread_time)
        possible = max(before, core.measured())
        needed = limit.operations(model) / core.lanes / possible
        yield Figure(name, "vector_operations", round(limit.operations(model)), "per step and lane")
        yield Figure(name, "share_of_limit", round(needed / seconds, 3), "of 1", "a loop on registers")
        yield Figure(name, "possible", round(possible / 1e9, 2), "1e9 vector operations per s")
        yield Figure(name, "traffic", round(limit.bytes_moved(model) / seconds / 1e9, 2), "GB/s")


CASES: dict[str, Callable[[], Iterator[Figure]]] = {
    **{name: partial(model_case, name) for name in MODELS},
    "dense_T1": partial(dense.case, 1),
    "dense_T2": partial(dense.case, 2),
    "numpy": numpy_case,
    "threads": threads_case,
    "scale": scale_case,
    "memory": memory_case,
    "limit": limit_case,
}

if __name__ == "__main__":
    sys.exit(run("benchmarks.step", __doc__, CASES))
