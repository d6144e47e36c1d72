"""The figures that FreeAgentics publishes about itself, measured here the same way.

Theirs are from their own documents (PERFORMANCE_ANALYSIS.md, PERFORMANCE_LIMITS_DOCUMENTATION.md, July 2025,
eight cores); none of their code runs here. ``inference``: five agents, 250 operations, one agent after the
other, planning three steps as theirs did, on a 10 by 10 grid. ``memory``: what the system's kernel counts.
``updates``: belief updates without planning. ``workers``: every agent in a thread, or in a process, of its
own, as theirs were; and as it is meant here, all agents in one call. ``creation`` and ``leak``: five agents
made, and memory after a thousand times their 250 operations. A million agents are in `benchmarks.scale`.
Coalitions, the daemon's memory and its start are measured by their own benchmarks; the report puts the rows
together.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier

import numpy as np

from benchmarks.cases import run
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.golden_models import arrays_of, observations_of
from benchmarks.scale import rss
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population

MODEL, PLANNING = "s2_grid10_T1", "s2_grid10_T3"
AGENTS, OPERATIONS = 5, 250
THEIRS_MS, THEIRS_RATE, THEIRS_KB, THEIRS_CREATION_S, THEIRS_GROWTH_MB = 370.0, 2.7, 34_500.0, 0.103, 9.8
SPELL_S = 0.7
STEPS = 1000


def beside(case: str, figure: str, value: float, unit: str, theirs: float, less: bool) -> Figure:
    """Return our value and how many times better than theirs it is."""
    ratio = theirs / value if less else value / theirs
    return Figure(
        case, figure, float(f"{value:.4g}"), unit, f"FreeAgentics: {theirs:g} {unit}", float(f"{ratio:.3g}")
    )


def inference() -> Iterator[Figure]:
    """Time five agents that plan three steps, one after the other."""
    model = Model.quantized(arrays_of(PLANNING))
    agents = [Population(model, 1, seed) for seed in range(AGENTS)]
    seen = observations_of(PLANNING, AGENTS)
    for agent in agents:
        agent.step(seen[0, :1])
    times = []
    for operation in range(OPERATIONS):
        number = operation % AGENTS
        start = time.perf_counter()
        agents[number].step(seen[operation // AGENTS % len(seen), number : number + 1])
        times.append(time.perf_counter() - start)
    case = "5 agents, 250 operations"
    yield beside(case, "inference, mean", 1e3 * float(np.mean(times)), "ms", THEIRS_MS, True)
    yield beside(case, "inferences", OPERATIONS / sum(times), "1/s", THEIRS_RATE, False)


def memory() -> Iterator[Figure]:
    """Measure the memory of a thousand agents, and of the whole process."""
    model = Model.quantized(arrays_of(MODEL))
    seen = observations_of(MODEL, 1000)
    Population(model, 1).step(seen[0, :1])
    before = rss()
    thousand = Population(model, 1000)
    thousand.step(seen[0])
    yield at_most("1,000 agents", "the whole process", rss() / 1e6, "MB", 100.0)
    per_agent = (rss() - before) / 1000
    yield beside("1,000 agents", "memory per agent", per_agent / 1e3, "kB", THEIRS_KB, True)


def updates() -> Iterator[Figure]:
    """Time belief updates without planning."""
    model = Model.quantized(arrays_of(MODEL))
    alone, seen = Population(model, 1), observations_of(MODEL, 1000)
    alone.infer(seen[0, :1])
    times = []
    for tick in range(20_000):
        start = time.perf_counter()
        alone.infer(seen[tick % 10, :1])
        times.append(time.perf_counter() - start)
    yield at_most("one agent", "belief update, median", 1e3 * float(np.median(times)), "ms", 1.0)
    yield at_most("one agent", "belief update, p99", 1e3 * float(np.quantile(times, 0.99)), "ms", 1.0)
    yield at_least("one agent after the other", "belief updates", len(times) / sum(times), "1/s", 10_000)
    together = Population(model, 1000)
    start = time.perf_counter()
    for tick in range(500):
        together.infer(seen[tick % 10])
    passed = time.perf_counter() - start
    yield at_least("1,000 agents per call", "belief updates", 500 * 1000 / passed, "1/s", 10_000)


def _spell(population: Population, seen: np.ndarray, barrier: threading.Barrier | Barrier) -> int:
    """Step for a while from when all are ready; return how often."""
    population.step(seen)
    barrier.wait()
    steps, end = 0, time.perf_counter() + SPELL_S
    while time.perf_counter() < end:
        population.step(seen)
        steps += 1
    return steps


def _process(barrier: Barrier, counts: multiprocessing.Queue[int]) -> None:
    model = Model.quantized(arrays_of(MODEL))
    counts.put(_spell(Population(model, 1), observations_of(MODEL, 1)[0], barrier))


def workers() -> Iterator[Figure]:
    """Time agents in threads, in processes, and all in one call."""
    model = Model.quantized(arrays_of(MODEL))
    context = multiprocessing.get_context("spawn")
    seen = observations_of(MODEL, 10)[0]
    published = {1: (680.5, 13.8), 5: (190.1, 47.5), 10: (197.3, 63.8)}
    for agents, (theirs_threads, theirs_processes) in published.items():
        case, done = f"{agents} agents", []
        barrier = threading.Barrier(agents)
        threads = [
            threading.Thread(
                target=lambda population: done.append(_spell(population, seen[:1], barrier)),  # noqa: B023
                args=(Population(model, 1),),
            )
            for _ in range(agents)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield beside(case, "one thread per agent", sum(done) / SPELL_S, "1/s", theirs_threads, False)

        ready, counts, start = context.Barrier(agents), context.Queue(), time.perf_counter()
        processes = [context.Process(target=_process, args=(ready, counts)) for _ in range(agents)]
        for process in processes:
            process.start()
        total = sum(counts.get() for _ in processes)
        passed = time.perf_counter() - start
        for process in processes:
            process.join()
        yield beside(case, "one process per agent", total / SPELL_S, "1/s", theirs_processes, False)
        yield Figure(case, "one process per agent, start included", round(total / passed), "1/s")

        population, steps = Population(model, agents), 0
        population.step(seen[:agents])
        end = time.perf_counter() + SPELL_S
        while time.perf_counter() < end:
            population.step(seen[:agents])
            steps += agents
        yield beside(case, "one call for all", steps / SPELL_S, "1/s", theirs_threads, False)


def creation() -> Iterator[Figure]:
    """Time the creation of five agents."""
    arrays = arrays_of(MODEL)
    start = time.perf_counter()
    for seed in range(AGENTS):
        Population(Model.quantized(arrays), 1, seed)
    apart = time.perf_counter() - start
    yield beside("5 agents, one model each", "made", apart, "s", THEIRS_CREATION_S, True)


def leak() -> Iterator[Figure]:
    """Measure how much memory grows over a thousand repetitions of 250 operations."""
    model = Model.quantized(arrays_of(MODEL))
    agents = [Population(model, 1, seed) for seed in range(AGENTS)]
    seen = observations_of(MODEL, AGENTS)

    def operate(times: int) -> None:
        for operation in range(times):
            number = operation % AGENTS
            agents[number].step(seen[operation % 10, number : number + 1])

    operate(OPERATIONS)
    before = rss()
    operate(STEPS * OPERATIONS)
    grown = (rss() - before) / 1e6
    yield at_most("5 agents, 250,000 operations", "growth", grown, "MB", THEIRS_GROWTH_MB)


CASES = {
    "inference": inference,
    "memory": memory,
    "updates": updates,
    "workers": workers,
    "creation": creation,
    "leak": leak,
}

if __name__ == "__main__":
    sys.exit(run("benchmarks.freeagentics", __doc__, CASES))
