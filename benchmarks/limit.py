"""Vector operations and memory traffic of a step, compared with the limits of the processor.

Counted from the model and its planning program, for one agent in a full block: additions, multiplications,
comparisons, conversions and integer operations on vectors, without loads and stores, which use other ports.
The limit is two such operations per cycle, as on x86-64 cores with 512-bit vectors. The clock frequency is
the one that the system reports; a core that runs faster can exceed the computed limit.
"""

from __future__ import annotations

import re
from pathlib import Path

from edge_agent.engine import planning
from edge_agent.engine.model import Model
from edge_agent.engine.storage import Tensor

PORTS = 2
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


def hertz() -> float:
    """Return the clock that the system states."""
    found = re.search(r"^cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return float(found[1]) * 1e6 if found else 2.4e9
