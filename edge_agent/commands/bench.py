"""``edge-agent bench``: measures steps per second, µs per step and bytes per agent on this board."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.commands.output import add_output_options, print_json, print_table
from edge_agent.errors import ConfigError

if TYPE_CHECKING:
    from edge_agent.engine import Model

SIZES = (1, 64, 1000, 10_000)
GRID = 10


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("bench", help="measure this board")
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="default: a 10x10 grid world")
    parser.add_argument("--agents", type=int, action="append", metavar="N", help="population sizes to try")
    parser.add_argument("--threads", type=int, default=1, metavar="K", help="threads of a step")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="length of each measurement")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line per population size; each figure is the median of short runs."""
    import numpy as np

    from edge_agent.engine import Model, Population

    if arguments.seconds <= 0:
        raise ConfigError(f"--seconds: found {arguments.seconds:g}, expected more than 0")
    model = grid_world() if arguments.bundle is None else Model.load(arguments.bundle)
    rng = np.random.default_rng(0)
    rows = []
    for size in arguments.agents or SIZES:
        population = Population(model, size, threads=arguments.threads)
        observations = np.stack([rng.integers(0, n, size) for n in model.num_obs], axis=-1).astype(np.int16)
        population.step(observations)
        times: list[float] = []
        end = time.perf_counter() + arguments.seconds
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            population.step(observations)
            times.append(time.perf_counter() - start)
        tick = float(np.median(times))
        rows.append(
            {
                "agents": size,
                "tick_ms": round(tick * 1e3, 4),
                "us_per_step": round(tick * 1e6 / size, 4),
                "steps_per_second": round(size / tick),
                "bytes_per_agent": round(population.nbytes / size, 1),
            }
        )
    if arguments.json:
        print_json({"model": model.name, "threads": arguments.threads, "rows": rows})
    else:
        print(f"{model.name}, {arguments.threads} thread(s)")
        print_table(list(rows[0]), [list(row.values()) for row in rows])
    return 0


def grid_world() -> Model:
    """Return the benchmark model: a fully observed grid walk with a horizon of one step."""
    import numpy as np

    from edge_agent.engine import Model

    states = GRID * GRID
    transition = np.zeros((states, states, 5))
    for state in range(states):
        y, x = divmod(state, GRID)
        for move, (dy, dx) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))):
            there = min(max(y + dy, 0), GRID - 1) * GRID + min(max(x + dx, 0), GRID - 1)
            transition[there, state, move] = 1.0
    preferences = np.zeros(states)
    preferences[-1] = 3.0
    return Model.from_arrays([np.eye(states)], [transition], [preferences], name="grid 10x10")
