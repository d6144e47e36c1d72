"""Accuracy, size and cost of shared evidence.

Cases. ``belief``: worst KL divergence of three devices that share evidence from one agent that observes
everything, over 200 steps with 30 % loss, delay, duplication, reordering and a restart, over several worlds;
the devices fuse exactly in float64 (``belief``) or on the kernel in 8 bits (``engine``). ``bytes``: the
whole payload of one factor's evidence, minus its states. ``cost``: CPU time per record, in time and late,
compared with an agent's own step of the same filter. ``terse``: messages saved by holding evidence back, and
the loss of accuracy.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np

from benchmarks.cases import run, seconds
from benchmarks.figures import LESS, Figure, at_most
from edge_agent import Model
from edge_agent.protocol.peers.bayes_fusion import BayesFusion
from edge_agent.protocol.peers.codes import encode
from edge_agent.protocol.peers.evidence_exchange import ExchangeSettings
from edge_agent.runtime.peers.kernel_filter import PopulationFilter
from edge_agent.testing.broker import Adversary
from edge_agent.wire import messages
from edge_agent.wire.evidence import Evidence, Record, to_body
from tests.support.hidden_world import HiddenWorld
from tests.support.three_devices import NAMES, ThreeDevices, hostile, worst_error

WORLDS = 8


def belief() -> Iterator[Figure]:
    """Measure the accuracy of evidence fused in float64."""
    for controls, case in ((1, "uncontrolled factor"), (3, "controlled factor")):
        errors, lost = [], 0
        for seed in range(WORLDS):
            devices = ThreeDevices(seed, hostile(100 + seed), controls)
            errors.append(worst_error(devices))
            lost += sum(devices.sharing(name).lost() for name in NAMES)
        yield at_most(case, f"worst KL of {WORLDS} worlds, 200 steps, one restart", max(errors), "nat", 1e-3)
        yield Figure(case, "median of the worlds' worst KL", round(statistics.median(errors), 7), "nat")
        yield Figure(case, "records lost", lost, "records")


def on_the_engine(world: HiddenWorld) -> PopulationFilter:
    """Return a filter of the world that runs on the kernel."""
    model = Model.from_arrays([world.A[0]], [world.B], [np.zeros(world.A.shape[1])], [world.D])
    return PopulationFilter(model, 0)


def engine() -> Iterator[Figure]:
    """Measure the accuracy of evidence fused on the kernel in 8 bits."""
    for controls, case in ((1, "uncontrolled factor"), (3, "controlled factor")):
        errors = [
            worst_error(ThreeDevices(seed, hostile(100 + seed), controls, model=on_the_engine))
            for seed in range(WORLDS)
        ]
        yield at_most(case, f"worst KL of {WORLDS} worlds, 200 steps, one restart", max(errors), "nat", 1e-3)
        yield Figure(case, "median of the worlds' worst KL", round(statistics.median(errors), 7), "nat")


def size() -> Iterator[Figure]:
    """Measure the payload of one factor's evidence."""
    for states in (2, 8, 64, 256, 1024):
        record = Record(2**32 - 1, 9999, 1_700_000_000, bytes([255] * states), 4)
        payload = messages.encode(messages.Message(to_body(Evidence((record,))), seq=10**6, t=1.7e9))
        above = len(payload) - states
        floats = round(len(payload) / (8 * states), 3)
        against = ("float64 alone", floats)
        yield Figure(
            f"{states} states", "bytes above the states", above, "B", *against, 64.0, above <= 64, LESS
        )


def cost() -> Iterator[Figure]:
    """Time one record, in time and late, and a step of the filter alone."""
    world = HiddenWorld(1)
    likelihoods = [world.see(0) for _ in range(32)]
    coded = [encode(likelihood) for likelihood in likelihoods]

    def alone() -> None:
        belief = world.D
        for likelihood in likelihoods:
            belief = world.filter.predict(belief, 0) * likelihood
            belief = belief / belief.sum()

    own = seconds(alone, 50) / 32

    def in_time() -> None:
        fusion = BayesFusion(world.filter, world.D, 0)
        for tick, codes in enumerate(coded):
            fusion.advance(tick)
            fusion.add("peer", Record(1, 0, tick, codes))
            fusion.belief()

    prompt = seconds(in_time, 50) / 32
    against = ("us", "a step alone")
    ratio = round(prompt / own, 2)
    yield Figure("8 states", "a record in time", round(1e6 * prompt, 2), *against, ratio, better=LESS)
    fusion = BayesFusion(world.filter, world.D, 0)
    fusion.advance(31)
    fusion.belief()
    pairs = iter([(f"peer-{n}", tick) for n in range(60) for tick in range(8, 24)])

    def late() -> None:
        for _ in range(16):
            device, tick = next(pairs)
            fusion.add(device, Record(1, 0, tick, coded[0]))
            fusion.belief()

    folded = seconds(late, 5) / 16
    ratio = round(folded / own, 2)
    yield Figure(
        "8 states", "a record 8 to 24 ticks late", round(1e6 * folded, 2), *against, ratio, better=LESS
    )


def terse() -> Iterator[Figure]:
    """Measure what holding evidence back saves, and the accuracy it loses."""
    for worthwhile in (0.0, 0.1, 0.5, 1.0):
        devices = ThreeDevices(6, Adversary(1), settings=ExchangeSettings(worthwhile=worthwhile))
        errors = []
        for _ in range(200):
            devices.tick()
            errors += [devices.error_now(name) for name in NAMES]
        sent = sum(devices.sharing(name).counters.sent for name in NAMES)
        case = f"worthwhile {worthwhile} nat"
        share = round(sent / 600, 3)
        yield Figure(case, "records sent", sent, "records", "all of them", share, better=LESS)
        yield Figure(case, "mean KL of the present belief", round(float(np.mean(errors)), 6), "nat")


CASES = {"belief": belief, "engine": engine, "bytes": size, "cost": cost, "terse": terse}

if __name__ == "__main__":
    raise SystemExit(run("benchmarks.fusion", __doc__, CASES))
