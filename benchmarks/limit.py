"""Vector operations and memory traffic of a step, compared with the limits of the processor.

Counted from the model and its planning program, for one agent in a full block: additions,
multiplications, comparisons, conversions and integer operations on vectors, without loads and stores,
which use other ports. The limit is measured in the same process: a loop of multiplications and additions
that stay in registers (``throughput.c``), with vectors of the instruction set that the engine uses. It is
the clock and the number of ports that this core has at this moment, whatever else runs on the machine.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import time
from pathlib import Path

from edge_agent.engine import planning
from edge_agent.engine.model import Model
from edge_agent.engine.storage import Tensor

SOURCE = Path(__file__).with_name("throughput.c")
FLAGS = {
    "avx512": ("-mavx512f", "-DVECTOR_BYTES=64"),
    "avx2": ("-mavx2", "-DVECTOR_BYTES=32"),
    "baseline": ("-DVECTOR_BYTES=16",),
}
TURNS, RUNS = 2_000_000, 7
XLOG2X, EXP, CODE = 13, 15, 13


def _applied(tensor: Tensor, rows: int) -> float:
    """Multiply-adds of ``rows`` rows, two operations each."""
    return 2 * len(tensor.codes) * rows / tensor.rows


def operations(model: Model) -> float:
    """Return vector operations a lane for inference (one factor) and planning."""
    states = sum(model.num_states)
    total = states * 6.0  # decoding: widen, convert, square, square, sum, normalise
    for b, mixed in zip(model.B, model.mixed[len(model.A) :], strict=False):
        total += 2 * len(mixed.columns) if len(mixed.columns) else len(b.codes) * 2
    total += states * (2 + 1 + CODE + 2)  # sum and largest; scale, code, round, narrow
    total += states * 5.0  # and decoded again: whole number, square, square, sum, normalise
    plan = model.plan(model.policy_len, True)
    for op, first, second, count, *rest in plan.ops.tolist():
        if op == planning.EXPAND:
            total += _applied(model.tensors[first], count) + (2 * count if rest[2] >= 0 else 0)
        elif op == planning.ENTROPY:
            tensor = model.tensors[first]
            total += _applied(tensor, tensor.rows) + tensor.rows * (XLOG2X + 1)
        elif op == planning.JOINT:
            total += count * rest[1]
        elif op in (planning.DOT, planning.LISTED):
            total += 2 * second
        elif op == planning.GATHER:
            total += plan.lists[rest[0] + second] - second
        else:
            total += 1
    return total + len(model.policies) * (EXP + 5)


def bytes_moved(model: Model) -> int:
    """Return bytes of an agent's state that a step reads and writes."""
    return 2 * (sum(model.num_states) + len(model.B)) + 4 + 8 * (len(model.A) + len(model.B))


def throughput(isa: str) -> float:
    """Return the vector operations per second that one core does with an instruction set."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "throughput.so"
        command: list[str | Path] = [
            "cc",
            "-O2",
            "-ffp-contract=off",
            "-fPIC",
            "-shared",
            *FLAGS[isa],
            SOURCE,
            "-o",
            library,
        ]
        subprocess.run(command, check=True)
        loop = ctypes.CDLL(str(library)).vector_operations
    loop.restype = ctypes.c_int64
    kept, best = ctypes.c_float(), 0.0
    for _ in range(RUNS):
        start = time.thread_time()
        done = loop(ctypes.c_int64(TURNS), ctypes.byref(kept))
        best = max(best, done / (time.thread_time() - start))
    return best
