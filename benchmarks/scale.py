"""Scaling with the number of agents: steps per second and bytes per agent, from 1 agent to a million.

Sizes are timed in turn, a short slice of each at a time, so that noise affects all of them equally. Time is
that of the thread, with one thread. ``exponent`` is the slope of log seconds over log agents from a thousand
agents on; 1 is proportional. ``resident`` is measured by the system's kernel: memory of a process before and
after it created and stepped a population, in one fresh process per size. Histories are not included here;
`benchmarks.memory` measures the whole daemon with them.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.cases import run
from benchmarks.figures import LESS, MORE, Figure, at_most
from benchmarks.golden_models import arrays_of, observations_of
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population

MODEL = "s2_grid10_T1"
SIZES = (1, 10, 50, 100, 500, 1000, 5000, 10_000, 50_000, 100_000)
RESIDENT = (1000, 10_000, 100_000, 1_000_000)
PROPORTION_FROM = 1000
TILE = 64
ROUNDS = 10
STRETCH_S = 0.02
MAX_EXPONENT = 1.05


def speed() -> Iterator[Figure]:
    """Agent-steps per second at each size, beside one agent alone."""
    model = Model.quantized(arrays_of(MODEL))
    populations = {size: Population(model, size) for size in SIZES}
    observations = {size: observations_of(MODEL, size) for size in SIZES}
    times: dict[int, list[float]] = {size: [] for size in SIZES}
    for population, seen in zip(populations.values(), observations.values(), strict=True):
        population.step(seen[0])
    for _ in range(ROUNDS):
        for size, population in populations.items():
            steps, start = 0, time.thread_time()
            while (passed := time.thread_time() - start) < STRETCH_S or steps == 0:
                population.step(observations[size][steps % len(observations[size])])
                steps += 1
            times[size].append(passed / steps)
    ticks = {size: statistics.median(found) for size, found in times.items()}
    alone = 1 / ticks[1]
    for size, tick in ticks.items():
        rate = size / tick
        versus = None if size == 1 else "one agent alone"
        ratio = None if size == 1 else round(rate / alone, 2)
        yield Figure(f"{size} agents", "agent-steps", round(rate), "1/s", versus, ratio, better=MORE)
    thousand = ticks[1000] / 1000
    for size in (10_000, 100_000):
        ratio = round(ticks[size] / size / thousand, 4)
        us = round(1e6 * ticks[size] / size, 4)
        yield Figure(f"{size} agents", "one agent-step", us, "us", "1,000 agents", ratio, better=LESS)
    large = [size for size in SIZES if size >= PROPORTION_FROM]
    slope = np.polyfit(np.log(large), np.log([ticks[size] for size in large]), 1)[0]
    yield at_most(f"{large[0]} to {large[-1]} agents", "exponent", float(slope), "1", MAX_EXPONENT)


def resident(size: int) -> Iterator[Figure]:
    """Bytes per agent of a population that has stepped, as planned and as the system counts them.

    A tile of agents steps before, because the first one reads the kernel's code (about 90 KB) into memory.
    """
    model = Model.quantized(arrays_of(MODEL))
    observations = observations_of(MODEL, size)[:2].copy()
    Population(model, TILE).step(observations[0, :TILE])
    before = rss()
    population = Population(model, size)
    actions = [population.step(tick) for tick in observations]
    grown = rss() - before - sum(action.nbytes for action in actions)
    case = f"{size} agents"
    yield Figure(case, "planned per agent", round(population.nbytes / size, 1), "B", better=LESS)
    yield Figure(case, "resident per agent", round(grown / size, 1), "B", better=LESS)


def rss() -> int:
    """Return the bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


CASES = {"speed": speed} | {f"resident-{size}": partial(resident, size) for size in RESIDENT}

if __name__ == "__main__":
    sys.exit(run("benchmarks.scale", __doc__, CASES))
