"""One device of ten lies: its states are permuted, and it sends a hundred times the counts.

The values are nats per held-out reading that are lost beside the plain sum of the nine that are honest. Rows
differ in what the merge does: nothing, a cap at the 90th percentile or at the median of counts, and what
`edge-hub learn` does by default, a cap at the median without the extremes of each cell.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmarks.figures import Figure, at_most
from benchmarks.learning import counted, fleet, offices
from benchmarks.learning.offices import Chain
from edge_agent.wire.increments import Increments
from edge_hub.domain.increment_sums import robust, total

DEVICES, TIMES, LOST = 10, 100, 0.01


def figures() -> Iterator[Figure]:
    """Yield what is lost by each way to merge, for honest fleets too."""
    truth, prior = offices.office()
    ways: dict[str, Callable[[Sequence[Increments]], Increments]] = {
        "no guard": total,
        "cap at the 90th percentile": lambda sent: total(_capped(sent, 90)),
        "cap at the median": lambda sent: total(_capped(sent, 50)),
        "robust": robust,
    }
    lost: dict[str, list[float]] = {}
    for seed in fleet.SEEDS:
        rng = np.random.default_rng((seed, 2))
        readings = offices.draw(truth, DEVICES, offices.READINGS, rng)
        held = fleet.held_out(seed)
        honest = counted.online(prior, readings)
        sent = [*honest[1:], _poisoned(prior, honest[0], rng)]

        def score(increments: Increments, held: offices.Int = held) -> float:
            return offices.score(counted.after(prior, increments)._replace(D=prior.D), held)

        nine = score(total(honest[1:]))
        for name, way in ways.items():
            lost.setdefault(name, []).append(nine - score(way(sent)))
        lost.setdefault("robust, nobody lies", []).append(nine - score(robust(honest)))
    for name, values in lost.items():
        mean = statistics.fmean(values)
        if name == "robust":
            yield at_most("one of ten lies", f"lost, {name}", mean, "nats per reading", LOST)
        yield Figure(
            "one of ten lies",
            f"lost, {name}, seeds",
            round(mean, 4),
            "nats per reading",
            runs=len(values),
            low=round(min(values), 4),
            high=round(max(values), 4),
        )


def _poisoned(prior: Chain, honest: Increments, rng: np.random.Generator) -> Increments:
    states = len(prior.D)
    order = rng.permutation(states)
    units = honest.units.copy()
    first = 0
    for tensor in honest.tensors:
        part = units[first : first + tensor.cells].reshape(tensor.shape)
        moved = part[..., order]
        part[...] = moved[:, order] if tensor.name[0] == "B" else moved
        first += tensor.cells
    return Increments(honest.model, honest.tensors, TIMES * honest.updates, TIMES * units)


def _capped(sent: Sequence[Increments], percentile: float) -> list[Increments]:
    cap = float(np.percentile([one.mass for one in sent], percentile))
    return [
        one
        if one.mass <= cap
        else Increments(one.model, one.tensors, one.updates, (one.units * (cap / one.mass)).astype(np.int64))
        for one in sent
    ]
