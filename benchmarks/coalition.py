"""Speed and quality of coalitions, and the cost of coordination.

Cases. ``optimum``: worth of the coalitions over that of the best possible ones, found by enumeration, for
instances of 2 to 8 agents; and the loss by the hierarchy: small cells, and cells compared with a single
cell. ``formation``: time from nothing. ``change``: CPU time of one join or leave. ``agreement``: simulated
devices on a broker in memory, heartbeats until all have the same plan after a change. ``efficiency``: the
share of its agent-steps that a device keeps among N (defined in `benchmarks.coordination`), and the cost of
the heartbeats of 10,000 devices.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from functools import partial
from unittest import mock

import numpy as np

from benchmarks import coordination
from benchmarks.cases import run, seconds
from benchmarks.figures import LESS, MORE, Figure, at_least, at_most
from edge_agent import Model
from edge_agent.protocol.peers import cells
from edge_agent.protocol.peers.formation import Formation
from edge_agent.protocol.peers.objectives import Candidate, Coalition, Objective, worth
from edge_agent.protocol.peers.peer import PeerSettings
from edge_agent.testing.broker import Adversary, MemoryBroker
from edge_agent.testing.clock import ManualClock
from tests.support import peer_worlds
from tests.support.peer_fleet import PeerDevice, PeerFleet
from tests.support.peer_worlds import form

SPACING_MM = 10_000  # one agent a square of 10 m
REACH_MM = 50_000


def world(agents: int, seed: int = 1) -> tuple[list[Candidate], list[Objective]]:
    """Return a fleet with one objective for eight agents."""
    rng = random.Random(seed)
    side = int(agents**0.5 * SPACING_MM)
    candidates = [peer_worlds.candidate(rng, number, side) for number in range(agents)]
    objectives = [peer_worlds.objective(rng, number, side, (REACH_MM,)) for number in range(agents // 8)]
    return candidates, objectives


def flat(candidates: list[Candidate], objectives: list[Objective]) -> int:
    """Return the worth of plain greedy: every role of every objective looks at every agent."""
    free = {candidate.name: candidate for candidate in candidates}
    total = 0
    for objective in sorted(objectives, key=lambda o: o.rank):
        held, value = [], 0
        for role in objective.roles:
            ranked = [(worth(objective, role, c), name) for name, c in free.items() if name not in held]
            best, name = max(ranked, default=(-1, ""))
            if best >= 0:
                held.append(name)
                value += best
            elif role.required:
                held, value = [], 0
                break
        for name in held:
            del free[name]
        total += value
    return total


def optimum() -> Iterator[Figure]:
    """Compare the worth of the coalitions with the best possible one, and cells with a single cell."""
    found = []
    for seed in range(2000):
        candidates, objectives = peer_worlds.small_instance(seed)
        found.append((value(form(candidates, objectives)), peer_worlds.optimum(candidates, objectives)))
    ratios = [got / best for got, best in found if best]
    case = f"{len(ratios)} instances"
    yield at_least(case, "mean worth over optimum", statistics.mean(ratios), "1", 0.95)
    yield Figure(case, "least worth over optimum", round(min(ratios), 4), "1")
    share = statistics.mean(ratio < 0.95 for ratio in ratios)
    yield Figure(case, "share below 0.95 of optimum", round(share, 4), "1")
    for leaf in (2, 4):
        with mock.patch.object(cells, "LEAF", leaf):
            some = [peer_worlds.small_instance(seed) for seed in range(400)]
            pairs = [(value(form(c, o)), peer_worlds.optimum(c, o)) for c, o in some]
        mean = statistics.mean(got / best for got, best in pairs if best)
        yield Figure(f"cells of {leaf} agents", "mean worth over optimum", round(mean, 4), "1")
    candidates, objectives = world(200)
    tree = value(form(candidates, objectives))
    with mock.patch.object(cells, "LEAF", 10**9), mock.patch.object(cells, "_BATCH", 10**9):
        whole = value(form(candidates, objectives))
    greedy = flat(candidates, objectives)
    for baseline, other in (("a single cell", whole), ("plain greedy", greedy)):
        yield Figure("200 agents", "worth", tree, "1", baseline, round(tree / other, 4), better=MORE)


def value(coalitions: dict[str, Coalition]) -> int:
    """Return the sum of the coalitions' values."""
    return sum(coalition.value for coalition in coalitions.values())


def formation() -> Iterator[Figure]:
    """Time the formation of coalitions from nothing."""
    for agents, target in ((500, 50.0), (10_000, 1000.0)):
        candidates, objectives = world(agents)
        ms = 1e3 * seconds(lambda: form(candidates, objectives))  # noqa: B023
        yield at_most(f"{agents} agents", "formed from nothing", ms, "ms", target)
    candidates, objectives = world(1000)
    ms = 1e3 * seconds(lambda: form(candidates, objectives))
    plain = 1e3 * seconds(lambda: flat(candidates, objectives), 1)
    ratio = round(ms / plain, 3)
    yield Figure("1000 agents", "formed from nothing", round(ms, 3), "ms", "plain greedy", ratio, better=LESS)


def change() -> Iterator[Figure]:
    """Time one join or leave in a fleet of 10,000 agents."""
    agents = 10_000
    candidates, objectives = world(agents)
    made = filled(candidates, objectives)
    nothing = seconds(lambda: form(candidates, objectives), 2)
    times, changed = [], []
    for one in random.Random(5).sample(candidates, 300):
        for action in (partial(made.drop, one.name), partial(made.put, one)):
            start = time.thread_time()
            action()
            changed.append(len(made.settle()))
            times.append(1e3 * (time.thread_time() - start))
    times.sort()
    case, median = f"{agents} agents", times[len(times) // 2]
    ratio = round(median / (1e3 * nothing), 6)
    held = (5.0, median <= 5, LESS)
    yield Figure(case, "join or leave, median", round(median, 3), "ms", "from nothing", ratio, *held)
    yield at_most(case, "join or leave, p99", times[len(times) * 99 // 100], "ms", 5.0)
    yield at_most(case, "join or leave, worst of 600", times[-1], "ms", 5.0)
    yield Figure(case, "coalitions changed by one", round(statistics.mean(changed), 2), "coalitions")


def filled(candidates: list[Candidate], objectives: list[Objective]) -> Formation:
    """Return a formation with all candidates and objectives."""
    made = Formation()
    for candidate in candidates:
        made.put(candidate)
    for objective in objectives:
        made.put_objective(objective)
    made.settle()
    return made


def agreement() -> Iterator[Figure]:
    """Count the heartbeats until all devices have the same plan after a change."""
    heartbeat = 10.0
    rng = random.Random(3)
    clock = ManualClock()
    fleet = PeerFleet(clock, MemoryBroker(clock, Adversary(3, double=0.05, delay=0.3)))
    objectives = [peer_worlds.objective(rng, number) for number in range(20)]
    for number in range(100):
        one = peer_worlds.candidate(rng, number)
        about = {"capabilities": one.capabilities, "position": one.position, "capacity": one.capacity}
        fleet.add(
            PeerDevice(
                one.name, fleet.broker.client(one.name), clock, PeerSettings(heartbeat), about, objectives
            )
        )
    fleet.run(2 * heartbeat)
    names = sorted(fleet.devices)
    waits: dict[str, list[float]] = {"will": [], "goodbye": [], "silence": []}
    for number, (kind, name) in enumerate(zip([*waits] * 3, names, strict=False)):
        device = fleet.devices[name]
        if kind == "goodbye":
            device.stop()
        else:
            device.frozen = True
            if kind == "will":
                fleet.broker.cut(name)
        start = clock.monotonic()
        while clock.monotonic() - start < 2 * heartbeat:
            fleet.run(0.5, step=0.25)
            gone = all(name not in other.peer.members for other in fleet.running)
            if gone and len(fleet.plans()) == 1:
                break
        waits[kind].append((clock.monotonic() - start) / heartbeat)
        if number % 3 == 2:
            fleet.run(heartbeat / 2, step=0.25)
    for kind, found in waits.items():
        yield at_most("100 devices", f"agreed after a {kind}, worst of 3", max(found), "heartbeats", 2.0)


def efficiency() -> Iterator[Figure]:
    """Measure the share of its agent-steps that a device keeps among N, and the cost of heartbeats."""
    model = grid()
    for devices in (50, 1000, 10_000):
        yield from coordination.efficiency(model, *world(devices))
    yield from coordination.heartbeat(*world(10_000))
    for agents in (50, 1000, 10_000):
        yield from coordination.on_one_core(model, agents)


def grid(side: int = 10) -> Model:
    """Return a 10 by 10 grid world with a noisy sense of place: 100 states, 100 outcomes, 5 moves."""
    states = side * side
    A = np.full((states, states), 0.1 / (states - 1))
    np.fill_diagonal(A, 0.9)
    B = np.zeros((states, states, 5))
    for state in range(states):
        x, y = state % side, state // side
        for move, (dx, dy) in enumerate([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]):
            u, v = min(max(x + dx, 0), side - 1), min(max(y + dy, 0), side - 1)
            B[v * side + u, state, move] = 1.0
    C = np.zeros(states)
    C[-1] = 3.0
    return Model.from_arrays([A], [B], [C], [np.full(states, 1 / states)])


CASES = {
    "optimum": optimum,
    "formation": formation,
    "change": change,
    "agreement": agreement,
    "efficiency": efficiency,
}

if __name__ == "__main__":
    raise SystemExit(run("benchmarks.coalition", __doc__, CASES))
