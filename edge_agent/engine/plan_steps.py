"""The order in which planning sums a modality's parents out: shared between policies, for the least work.

Theory of operation. What a modality with several parents promises is its tensor [outcomes, s1, s2, ...]
summed against the beliefs of each parent. Policies that differ in what one factor does have the beliefs of
the others in common: a factor without controls has one belief a step, whatever the policy. So parents are
summed out in steps, those first whose beliefs few policies tell apart, and what a step leaves is kept for all
policies that have the same beliefs so far. ``steps_of`` counts the distinct beliefs in the policy tree and
looks through all orders of all sets of parents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Steps = tuple[tuple[int, ...], ...]

GAIN = 0.8  # steps must cost less than this part of what one step costs
MOST_PARENTS = 6
MOST_ROWS = 1024  # that a step may leave: scratch memory, and a second level cache


def beliefs_of(
    policies: NDArray[np.int64], B_deps: Sequence[tuple[int, ...]], most: int
) -> list[tuple[int, ...]]:
    """Return, a node of the policy tree, which belief each factor has there; equal numbers are one belief.

    ``policies`` int [P, T, F]; it stops after ``most`` beliefs.
    """
    numbers: dict[tuple[int, ...], int] = {}
    found: list[tuple[int, ...]] = []
    nodes: dict[tuple[int, ...], tuple[int, ...]] = {(): tuple(-1 - f for f in range(len(B_deps)))}
    for t in range(policies.shape[1]):
        deeper: dict[tuple[int, ...], tuple[int, ...]] = {}
        for prefix in np.unique(policies[:, : t + 1].reshape(len(policies), -1), axis=0).tolist():
            parents = nodes[tuple(prefix[: -len(B_deps)])]
            keys = [
                (f, u, t, *(parents[d] for d in deps))
                for f, (u, deps) in enumerate(zip(prefix[-len(B_deps) :], B_deps, strict=True))
            ]
            deeper[tuple(prefix)] = tuple(numbers.setdefault(key, len(numbers)) for key in keys)
            if len(numbers) > most:
                return found
        nodes = deeper
        found += nodes.values()
    return found


def steps_of(sizes: Sequence[int], entries: float, outputs: int, beliefs: Sequence[tuple[int, ...]]) -> Steps:
    """Return which parents are summed out in which step, by their places; empty where one step is best.

    Parameters
    ----------
    sizes : sequence of int
        States of the parents.
    entries : float
        Entries of all tensors that are summed against the parents, those not stored left out.
    outputs : int
        Their rows.
    beliefs : sequence of tuple of int
        The parents' beliefs at every node (``beliefs_of``).
    """
    if not 2 <= len(sizes) <= MOST_PARENTS or not beliefs:
        return ()
    plan = _Costs(sizes, entries, outputs, beliefs)
    best: dict[int, tuple[float, Steps]] = {0: (0.0, ())}
    for done in range(plan.everything):
        if done not in best:
            continue
        cost, steps = best[done]
        for step in plan.next_steps(done):
            total = (cost + plan.of_step(done, step), (*steps, plan.places(step)))
            if done | step not in best or total < best[done | step]:
                best[done | step] = total
    cost, steps = best[plan.everything]
    return steps if len(steps) > 1 and cost < GAIN * plan.of_step(0, plan.everything) else ()


class _Costs:
    """Multiply-adds and rows written of steps; sets of parents are bit masks."""

    def __init__(
        self, sizes: Sequence[int], entries: float, outputs: int, beliefs: Sequence[tuple[int, ...]]
    ) -> None:
        self.sizes, self.entries, self.outputs = sizes, entries, outputs
        self.everything = 2 ** len(sizes) - 1
        self.distinct = [
            len({tuple(b[i] for i in self.places(mask)) for b in beliefs})
            for mask in range(self.everything + 1)
        ]

    def places(self, mask: int) -> tuple[int, ...]:
        return tuple(i for i in range(len(self.sizes)) if mask >> i & 1)

    def joint(self, mask: int) -> int:
        return math.prod(self.sizes[i] for i in self.places(mask))

    def next_steps(self, done: int) -> Iterator[int]:
        for step in range(1, self.everything + 1):
            left = self.everything & ~(done | step)
            if not done & step and (not left or self.outputs * self.joint(left) <= MOST_ROWS):
                yield step

    def of_step(self, done: int, step: int) -> float:
        sums = self.outputs * self.joint(self.everything & ~done) if done else self.entries
        rows = self.outputs * self.joint(self.everything & ~(done | step))
        products = self.joint(step) if step & (step - 1) else 0
        return self.distinct[done | step] * (sums + rows) + self.distinct[step] * products
