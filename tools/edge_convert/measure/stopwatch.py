"""Times calls; as a program, one network in a process that had nothing but NumPy before.

    python -m edge_convert.measure.stopwatch KIND MODEL SHAPE BATCH

prints a JSON list: microseconds a run, and the bytes of resident memory that runtime and model added.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

ROUNDS = 15
_ROUND_SECONDS = 0.01
_PAGE = 4096


def median_us(call: Callable[[], object]) -> float:
    """Return microseconds a call: the median of ``ROUNDS`` rounds, each long enough to be timed."""
    start = time.perf_counter()
    call()
    count = max(1, int(_ROUND_SECONDS / max(time.perf_counter() - start, 1e-7)))
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(count):
            call()
        rounds.append((time.perf_counter() - start) / count * 1e6)
    return median(rounds)


def _main(kind: str, path: str, shape: str, batch: str) -> None:
    before = _resident()
    from edge_agent.neural.runtimes import open_runtime

    runtime = open_runtime(kind, Path(path).read_bytes(), tuple(json.loads(shape)), int(batch))
    size = (runtime.batch, *json.loads(shape))
    x = np.random.default_rng(0).normal(size=size).astype(np.float32)
    runtime.run(x)
    print(json.dumps([median_us(lambda: runtime.run(x)), _resident() - before]))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


if __name__ == "__main__":
    _main(*sys.argv[1:])
