"""What an entry costs when it is listed and when it lies in a dense row: a constant of ``engine/storage.py``.

The same tensor, half of its entries the background, is stored either way, and the plan is evaluated; agents
fill whole strips, the clock is the thread's.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from unittest import mock

import numpy as np

from benchmarks.cases import run
from benchmarks.figures import Figure
from edge_agent.engine import storage
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population

STATES, CONTROLS, AGENTS = 96, 4, 256


def _seconds(entry_cost: float) -> float:
    generator = np.random.default_rng(0)
    B = np.zeros((STATES, STATES, CONTROLS))
    for column in np.ndindex(STATES, CONTROLS):
        rows = generator.permutation(STATES)[: STATES // 2]
        B[rows, column[0], column[1]] = 2 / STATES
    with mock.patch.object(storage, "ENTRY_COST", entry_cost):
        model = Model.from_arrays([np.full((2, STATES), 0.5)], [B], [[0.0, 1.0]])
    population = Population(model, AGENTS)
    population.step(np.zeros((AGENTS, 1), np.int64))
    times = []
    for _ in range(200):
        start = time.thread_time()
        population.evaluate()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def entry() -> Iterator[Figure]:
    """One listed entry beside one dense entry."""
    listed, dense = _seconds(0.0), _seconds(1e9)
    ratio = 2 * listed / dense  # half as many entries are listed
    yield Figure(
        "storage", "entry_cost", round(ratio, 3), "dense entries", "engine/storage.py", storage.ENTRY_COST
    )


CASES = {"entry": entry}

if __name__ == "__main__":
    sys.exit(run("benchmarks.storage", __doc__, CASES))
