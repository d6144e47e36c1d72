"""Fusion on the engine gives the result of fusion in float64, up to the engine's 8 bits."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent import Model
from edge_agent.protocol.peers.bayes_fusion import BayesFusion, Filter
from edge_agent.protocol.peers.codes import divergence, encode
from edge_agent.runtime.peers.kernel_filter import PopulationFilter
from edge_agent.wire.evidence import Record
from tests.support.hidden_world import HiddenWorld

TICKS = 60


def on_the_engine(world: HiddenWorld) -> PopulationFilter:
    model = Model.from_arrays([world.A[0]], [world.B], [np.zeros(world.A.shape[1])], [world.D])
    return PopulationFilter(model, 0)


@pytest.mark.parametrize("controls", [1, 3])
@pytest.mark.parametrize("late", [0, 7])
def test_the_engine_fuses_as_the_exact_filter_does(controls: int, late: int) -> None:
    world = HiddenWorld(4, controls=controls)
    exact: Filter = world.filter
    rng = np.random.default_rng(1)
    fusions = [BayesFusion(model, world.D, 0, 16, ("a", 0)) for model in (exact, on_the_engine(world))]
    waiting: list[tuple[str, Record]] = []
    worst, action = 0.0, 0
    for tick in range(TICKS):
        world.move(action)
        action = int(rng.integers(controls))
        waiting += [
            (name, Record(1, 0, tick, encode(world.see(sensor)), action if name == "a" else -1))
            for sensor, name in enumerate("abc")
        ]
        for fusion in fusions:
            fusion.advance(tick)
        ripe = [piece for piece in waiting if piece[1].tick <= tick - late]
        for name, record in ripe:
            for fusion in fusions:
                fusion.add(name, record)
        waiting = waiting[len(ripe) :]
        edge = fusions[0].base[0]
        if edge >= 0:
            worst = max(worst, divergence(fusions[0].base[1], fusions[1].base[1]))
    assert fusions[0].base[0] == TICKS - 17
    assert worst <= 1e-3
