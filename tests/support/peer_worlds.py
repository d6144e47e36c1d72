"""Rosters and objectives drawn from a seed, and the exact optimum of small ones by enumeration."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

from edge_agent.protocol.peers.formation import Formation
from edge_agent.protocol.peers.objectives import Candidate, Coalition, Objective, Role, synergy, worth
from edge_agent.protocol.peers.proximity import ANYWHERE
from edge_agent.wire.presence import Metric

CAPABILITIES = ("camera", "heater", "pump", "sensor")


def form(candidates: Iterable[Candidate], objectives: Iterable[Objective]) -> dict[str, Coalition]:
    """Return the coalitions by objective's name, formed from nothing."""
    formation = Formation()
    for one in candidates:
        formation.put(one)
    for wanted in objectives:
        formation.put_objective(wanted)
    formation.settle()
    return dict(formation.coalitions)


def candidate(rng: random.Random, number: int, side: int = 100_000) -> Candidate:
    """Return ``device-NUMBER`` with one or two capabilities, in a square of ``side`` millimetres."""
    return Candidate(
        f"device-{number:05d}",
        tuple(sorted(rng.sample(CAPABILITIES, rng.randint(1, 2)))),
        Metric(rng.randrange(side), rng.randrange(side)),
        rng.randint(1, 8),
        rng.randint(10, 100),
        rng.randint(200, 1000),
    )


def objective(
    rng: random.Random, number: int, side: int = 100_000, reaches: Sequence[int] = (50_000, 100_000, ANYWHERE)
) -> Objective:
    """Return ``objective-NUMBER`` with one to four roles, in the square, reaching one of ``reaches``."""
    roles = tuple(
        Role(f"role-{k}", rng.choice(CAPABILITIES), rng.randint(1, 8), rng.randint(1, 3), rng.random() < 0.7)
        for k in range(rng.randint(1, 4))
    )
    together = (("role-0", "role-1", rng.randint(1, 3)),) if len(roles) > 1 and rng.random() < 0.5 else ()
    centre = Metric(rng.randrange(side), rng.randrange(side))
    name = f"objective-{number:04d}"
    return Objective(name, roles, rng.randint(1, 5), centre, rng.choice(reaches), together)


def small_instance(seed: int) -> tuple[list[Candidate], list[Objective]]:
    """Return 2 to 8 candidates and 1 to 4 objectives."""
    rng = random.Random(seed)
    candidates = [candidate(rng, number) for number in range(rng.randint(2, 8))]
    return candidates, [objective(rng, number) for number in range(rng.randint(1, 4))]


def optimum(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> int:
    """Return the greatest worth any coalitions can have: every set of members is tried."""
    everyone = 1 << len(candidates)
    best = [0] * everyone
    for current in objectives:
        of_set: dict[int, int] = {}
        for members, value in _fillings(candidates, current):
            of_set[members] = max(value, of_set.get(members, 0))
        best = [
            max([best[s], *(best[s ^ m] + value for m, value in of_set.items() if m & s == m)])
            for s in range(everyone)
        ]
    return best[-1]


def _fillings(candidates: Sequence[Candidate], current: Objective) -> Iterator[tuple[int, int]]:
    """Yield (set of members as bits, worth) of every way to fill an objective's roles."""
    worths = [[worth(current, role, one) for one in candidates] for role in current.roles]
    partial: list[tuple[int, tuple[str, ...], int]] = [(0, (), 0)]
    for role, row in zip(current.roles, worths, strict=True):
        longer = [] if role.required else list(partial)
        for members, filled, total in partial:
            longer += [
                (members | 1 << c, (*filled, role.name), total + value)
                for c, value in enumerate(row)
                if value >= 0 and not members >> c & 1
            ]
        partial = longer
    for members, filled, total in partial:
        if filled:
            yield members, total + synergy(current, filled)
