"""How many bytes a contribution has: 320 agents that learned for 15 minutes at 1 Hz, on the engine.

Agents of the grid act at random in the world of their model; offices read what is drawn from the truth of the
simulated fleet, which the template does not know. The targets are 4 and 98 kB, rounded.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks import learned_parity
from benchmarks.figures import Figure, at_most
from benchmarks.learning import offices
from benchmarks.learning.offices import Int
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population
from edge_agent.wire import learned, messages
from edge_agent.wire.messages import Message
from edge_convert.readers import pymdp_npz

AGENTS, TICKS = 320, 900
GRID, GRID_BYTES, OFFICE_BYTES = "s2_grid10_T1", 98_500, 4_500


def figures() -> Iterator[Figure]:
    """Yield the bytes of all messages of a contribution, envelope and all."""
    for case, learner, most in (
        ("office", _office(), OFFICE_BYTES),
        (GRID, _grid(), GRID_BYTES),
    ):
        bodies = learned.to_bodies(learner.increments(), "rooms", "0" * 64, 1_800_000_000)
        size = sum(len(messages.encode(Message(body, seq=1, t=1.8e9))) for body in bodies)
        yield at_most(case, f"contribution, {len(bodies)} messages", size / 1000, "kB", most / 1000)


def _office() -> Learner:
    truth, prior = offices.office()
    B = prior.B[..., np.newaxis]
    model = Model.from_arrays([a / a.sum(axis=0) for a in prior.A], [B / B.sum(axis=0)], None, [prior.D])
    population = Population(model, AGENTS)
    learner = Learner(population, Concentrations.of(model, list(prior.A), [B]))
    readings = offices.draw(truth, AGENTS, TICKS, np.random.default_rng(0))
    for t in range(TICKS):
        population.step(readings[:, t])
    return learner


def _grid() -> Learner:
    arrays = pymdp_npz.read(learned_parity.MODELS / f"{GRID}.npz").arrays
    model = Model.quantized(arrays)
    A, B = ([np.asarray(t) for t in tensors] for tensors in (arrays.A, arrays.B))
    population = Population(model, AGENTS)
    learner = Learner(
        population, Concentrations.of(model, [10 * a + 0.01 for a in A], [10 * b + 0.01 for b in B])
    )
    rng = np.random.default_rng(1)
    states = np.zeros(AGENTS, np.int64)
    for _ in range(TICKS):
        seen = np.stack([_drawn(a[:, states], rng) for a in A], axis=1)
        population.step(seen)
        actions = np.stack([rng.integers(0, u, AGENTS) for u in arrays.num_controls], axis=1)
        population.act(actions)
        states = _drawn(B[0][:, states, actions[:, 0]], rng)
    return learner


def _drawn(columns: offices.Float, rng: np.random.Generator) -> Int:
    below = (columns.cumsum(axis=0) < rng.random(columns.shape[1])).sum(axis=0)
    return np.asarray(np.minimum(below, len(columns) - 1), np.int64)
