"""How much processor time adding the contributions of many devices takes, and that no order changes a bit."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from benchmarks.figures import MORE, Figure, at_most
from edge_agent.wire.increments import Counts, Increments
from edge_hub.domain.increment_sums import robust, total

CONTRIBUTIONS, CELLS, RUNS, SECONDS = 10_000, 4_096, 5, 0.2


def figures() -> Iterator[Figure]:
    """Yield seconds, and whether the bytes are the same."""
    rng = np.random.default_rng(0)
    tensors = (Counts("A_0", (CELLS,), 12),)
    units = rng.integers(0, 1 << 16, (CONTRIBUTIONS, CELLS))
    units[:, -1] += -units.sum(axis=1) % (1 << 12)
    sent = [Increments("0" * 64, tensors, 1 << 20, one) for one in units]
    what = f"{CONTRIBUTIONS:,} contributions of {CELLS:,} counts"
    for name, way in (("plain", total), ("robust", robust)):
        taken = []
        for _ in range(RUNS):
            begun = time.process_time()
            alone = way(sent)
            taken.append(time.process_time() - begun)
        yield at_most("merge", f"{what}, {name}", min(taken), "s of processor time", SECONDS)
        order = rng.permutation(CONTRIBUTIONS)
        same = way([sent[i] for i in order]).encoded() == alone.encoded()
        yield Figure(
            "merge", f"the same bytes in another order, {name}", float(same), "", None, None, 1.0, same, MORE
        )
