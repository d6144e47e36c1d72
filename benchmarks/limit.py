"""Vector operations and memory traffic of a step, compared with the limits of the processor.

Counted from the model and its planning program, for one agent in a full block: additions, multiplications,
both in one, comparisons, conversions and integer operations on vectors, without loads and stores, which use
other ports. Of several factors the least is counted that an inference can need: two iterations, the second of
which finds that nothing moved. What a core can do of them is measured (``throughput``).
"""

from __future__ import annotations

from edge_agent.engine import contraction, planning
from edge_agent.engine.model import Model

ITERATIONS = 2
LOG2, EXP, CODE, PACK = 8, 11, 11, 7


def _applied(model: Model, number: int, rows: int) -> float:
    """Multiply-adds of ``rows`` rows of a tensor; in integers two operations for two columns at once."""
    tensor = model.tensors[number]
    if number in model.integers:
        return float(rows * tensor.width)
    return len(tensor.codes) * rows / tensor.rows


def operations(model: Model) -> float:
    """Return vector operations a lane for inference and planning."""
    states = sum(model.num_states)
    total = states * 6.0  # decoding: widen, convert, square, square, sum, normalise
    for i, (b, mixed) in enumerate(zip(model.B, model.mixed[len(model.A) :], strict=False), len(model.A)):
        if i in model.integers:  # lanes of a control together
            total += _applied(model, i, model.integers[i]) + PACK * b.width
        else:
            total += len(mixed.columns) if len(mixed.columns) else len(b.codes)
    total += states * (2 + 1 + CODE + 2)  # sum and largest; scale, code, round, narrow
    total += states * 5.0  # and decoded again: whole number, square, square, sum, normalise
    total += _iterated(model)
    plan = model.plan(model.policy_len, True)
    for op, first, second, count, *rest in plan.ops.tolist():
        if op in (planning.EXPAND, planning.EXPAND_PACKED):
            total += _applied(model, first, count) + (count if rest[2] >= 0 else 0)
        elif op in (planning.ENTROPY, planning.GROUP_ENTROPY):
            product = model.product_of(first)
            rows = model.tensors[first].rows // (product.groups if product else 1)
            total += _applied(model, first, rows) + rows * (LOG2 + 1)
        elif op == planning.XLOG2X:
            total += _applied(model, first, count) + count * (LOG2 + 1)
        elif op == planning.PACK:
            total += PACK * first
        elif op == planning.JOINT:
            total += count * rest[1]
        elif op == planning.DOT:
            total += second * rest[1]
        elif op == planning.LISTED:
            total += second
        elif op == planning.PRODUCT:
            total += first * rest[1]
        elif op == planning.OUTCOMES:
            total += rest[0] * (first + LOG2 + 1)
        elif op == planning.GATHER:
            total += plan.lists[rest[0] + second] - second
        else:
            total += 1
    return total + len(model.policies) * (EXP + 5)


def _iterated(model: Model) -> float:
    """Operations of iterations over states or classes; 0 for one factor."""
    if len(model.B) == 1:
        return 0.0
    over_states, over_classes = model.contractions
    classes = model.outcome_classes
    plan = over_classes if classes.patterns else over_states
    rows = int(classes.classes.sum()) if classes.patterns else sum(model.num_states)
    total = rows * ITERATIONS * (EXP + 6.0)
    first, turn = plan.counts
    for kind, *x in plan.ops[first : first + turn].tolist():
        if kind == contraction.SUM:
            total += ITERATIONS * x[2] * x[3] * x[4]
        elif kind == contraction.PAIR:
            total += ITERATIONS * 2 * x[1] * x[2]
    return total


def bytes_moved(model: Model) -> int:
    """Return bytes of an agent's state that a step reads and writes."""
    return 2 * (sum(model.num_states) + len(model.B)) + 4 + 8 * (len(model.A) + len(model.B))
