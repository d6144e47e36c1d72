"""Count the instructions of a step, on a board whose clock advances one nanosecond per instruction.

Run by the host's ``instructions.py`` in a guest without systemd. A figure is that
of the cheapest of `PASSES`: the kernel's timer interrupts come on top. ``NAME.eab`` is a model and
``NAME-trace.npz`` has ``obs`` [ticks, agents, modalities].
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from board_checks import MARK

PASSES = 3
WARM = 2
AGENTS = (1, 1000)


def counted(path: Path) -> dict[str, int]:
    """Return the instructions that an agent's step takes, by how many agents step together."""
    import numpy as np

    from edge_agent.engine import Model, Population

    model = Model.load(path)
    with np.load(path.with_name(f"{path.stem}-trace.npz")) as trace:
        observations = trace["obs"]
    found = {}
    for agents in AGENTS:
        population, least = Population(model, agents), sys.maxsize
        ticks = [np.ascontiguousarray(tick[:agents]) for tick in observations]
        for _ in range(PASSES):
            population.reset()
            for tick in ticks[:WARM]:
                population.step(tick)
            start = time.perf_counter_ns()
            for tick in ticks[WARM:]:
                population.step(tick)
            least = min(least, time.perf_counter_ns() - start)
        found[str(agents)] = round(least / (len(ticks) - WARM) / agents)
    return found


if __name__ == "__main__":
    for bundle in sorted(Path(sys.argv[1]).glob("*.eab")):
        verdict = {"check": bundle.stem, "holds": True, "seen": counted(bundle), "error": "", "seconds": 0}
        print(MARK + json.dumps(verdict), flush=True)
