"""Dense models of one factor: integers beside floats, and how time grows with the number of states.

The baseline is the same model under rules 1: the kernel's floats, which bundles of release 0.1.0 keep.
Agents observe a world that is drawn from the model. Each step is timed by the thread's clock, both sides in
turn, and the least time of a tick counts: the machine may be busy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.factored import observations_of
from benchmarks.figures import MORE, Figure, at_most
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population

FLOATS = "floats, as under rules 1"
TARGETS = {128: 1.4, 512: 1.7}
EXPONENT = 2.1
CONTROLS, AGENTS, TICKS, ROUNDS = 4, 256, 4, 6


def arrays_of(states: int, steps: int) -> ModelArrays:
    """Return a model with half as many outcomes as states; policies have ``steps`` steps."""
    r = np.random.default_rng(3)
    A = r.dirichlet(np.full(states // 2, 0.3), size=states).T
    B = np.moveaxis(r.dirichlet(np.full(states, 0.1), size=(states, CONTROLS)), -1, 0)
    preferences = 2 * r.normal(size=states // 2)
    return model_arrays([A], [B], [preferences], policy_len=steps, gamma=4.0)


def case(steps: int) -> Iterator[Figure]:
    """Return microseconds an agent-step of 128 and 512 states, beside floats, and the exponent between."""
    found = {}
    for states, target in TARGETS.items():
        arrays = arrays_of(states, steps)
        model = Model.quantized(arrays)
        observations = observations_of(arrays, model, AGENTS, TICKS)
        integers, floats = least((model, replace(model, rules=1)), observations)
        found[states], ratio = integers, round(floats / integers, 2)
        name = f"dense_{states}_T{steps}"
        value = round(integers * 1e6, 3)
        yield Figure(name, "agent_step_us", value, "us", FLOATS, ratio, target, ratio >= target, MORE)
    exponent = math.log(found[512] / found[128]) / math.log(512 / 128)
    yield at_most(f"dense_T{steps}", "exponent of states", exponent, "1", EXPONENT)


def least(models: tuple[Model, Model], observations: np.ndarray) -> list[float]:
    """Return the seconds an agent-step of each model: the least of every tick, on average."""
    populations = [Population(model, AGENTS) for model in models]
    times = np.full((len(models), len(observations)), np.inf)
    for _ in range(ROUNDS):
        for population, own in zip(populations, times, strict=True):
            population.reset()
            for tick, observed in enumerate(observations):
                start = time.thread_time()
                population.step(observed)
                own[tick] = min(own[tick], time.thread_time() - start)
    return [float(own.mean()) / AGENTS for own in times]
