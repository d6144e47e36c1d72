"""A simulated fleet learns: each office alone, added up, and by federated expectation maximisation.

Held-out readings are the same for all rows; the values are nats per reading, means over ``SEEDS`` fleets.
``merged`` is the plain sum of what devices counted while each learned by itself, ``merged, robust`` the sum
that `edge-hub learn` makes by default. ``frozen`` is expectation maximisation over the fleet: in each round
devices count under the model that the hub gave. ``em`` is the same on one machine, in float64.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np

from benchmarks.figures import Figure, at_least, at_most
from benchmarks.learning import counted, offices
from benchmarks.learning.offices import Chain, Int
from edge_hub.domain.increment_sums import robust, total

SIZES = (3, 10, 30)
SEEDS = range(5)
ROUNDS = 10
FROZEN_ROUNDS = 2
WITHIN, FROZEN_WITHIN = 0.1, 0.02
ALONE = 5
"""Devices of a fleet whose own models are judged."""


def held_out(seed: int) -> Int:
    """Return readings for judging."""
    truth, _ = offices.office()
    length = offices.HELD_OUT // offices.SEQUENCES
    return offices.draw(truth, offices.SEQUENCES, length, np.random.default_rng((seed, 1)))


def figures() -> Iterator[Figure]:
    """Yield the figures of each size of fleet."""
    truth, prior = offices.office()
    for size in SIZES:
        rows: dict[str, list[float]] = {}
        gaps: list[float] = []
        for seed in SEEDS:
            found, gap = _fleet(truth, prior, size, seed)
            gaps.append(gap)
            for name, value in found.items():
                rows.setdefault(name, []).append(value)
        case = f"{size} offices"
        means = {name: statistics.fmean(values) for name, values in rows.items()}
        for name, mean in means.items():
            yield Figure(
                case,
                name,
                round(mean, 3),
                "nats per reading",
                runs=len(SEEDS),
                low=round(min(rows[name]), 3),
                high=round(max(rows[name]), 3),
            )
        yield at_most(case, "merged, below em", means["em"] - means["merged"], "nats per reading", WITHIN)
        yield at_least(case, "merged, above the best alone, worst seed", min(gaps), "nats per reading", 0.0)
        behind = means["em"] - means["frozen"]
        yield at_most(case, "frozen, below em", behind, "nats per reading", FROZEN_WITHIN)


def _fleet(truth: Chain, prior: Chain, size: int, seed: int) -> tuple[dict[str, float], float]:
    """Return the rows of one fleet, and how far the merged model is above the best that is alone."""
    readings = offices.draw(truth, size, offices.READINGS, np.random.default_rng((seed, 0, size)))
    held = held_out(seed)

    def score(model: Chain) -> float:
        return offices.score(model._replace(D=prior.D), held)

    sent = counted.online(prior, readings)
    alone = [score(counted.after(prior, one)) for one in sent[:ALONE]]
    model = prior.expected
    for _ in range(FROZEN_ROUNDS):
        model = counted.after(prior, total(counted.frozen(prior, model, readings)))
    rows = {
        "truth": score(truth),
        "as delivered": score(prior.expected),
        "alone, the worst": min(alone),
        "alone, the best": max(alone),
        "merged": score(counted.after(prior, total(sent))),
        "merged, robust": score(counted.after(prior, robust(sent))),
        "frozen": score(model),
        "em": score(offices.maximised(prior, readings, ROUNDS)),
    }
    return rows, rows["merged"] - rows["alone, the best"]
