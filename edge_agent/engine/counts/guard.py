"""Whether what was learned explains what is observed at least as well as the delivered model does.

Theory of operation. The first agents, ``MOST`` of them at most, run a second time on the delivered model: on
the same observations, after the same executed actions, without planning. Over a window of ticks the mean free
energy of both is compared, and how often an observation was a contradiction. A learned model whose mean is
higher by ``MARGIN`` nats, or that contradicts more often by ``RATE``, has failed. A window with fewer than
``LEAST`` updates decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.population import Population
from edge_agent.engine.stored_model import StoredModel
from edge_agent.memory.arena import Column

MOST, LEAST = 64, 32
MARGIN, RATE = 0.1, 0.01
PREFIX = "guard."


class Guard:
    """Follows ``population``, which may run learned models, with ``model`` as delivered."""

    def __init__(
        self, population: Population, model: StoredModel, arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        self._size = min(population.size, MOST)
        self._watched = population
        given = {
            name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)
        }
        self._own = Population(
            model,
            self._size,
            seed=population.seed,
            allocate=lambda columns: given | {"scratch": _part(population.scratch, columns)},
        )
        self.begin()

    @staticmethod
    def columns(model: StoredModel, size: int) -> tuple[Column, ...]:
        """Return the arrays that it needs beside the population's scratch, for the memory plan."""
        own = Population.columns(model, min(size, MOST))
        kept = (column for column in own if column.name != "scratch")
        return tuple(Column(PREFIX + column.name, column.shape, column.dtype) for column in kept)

    def begin(self) -> None:
        """Begin a window."""
        self.updates = self.steps = 0
        self.learned = self.delivered = 0.0
        """Sums of free energy, nats."""
        self._contradictions = self._watched.contradictions, self._own.contradictions

    def before(self) -> None:
        """Take over what the agents executed."""
        action = self._own.state[1]
        action[:] = self._watched.state[1][: len(action)]

    def after(self, table: NDArray[np.int64], agents: NDArray[np.int64] | None) -> None:
        """Run the tick of ``agents`` (None: all) on the outcomes ``table`` (n, M)."""
        self.steps += len(table)
        if agents is None:
            numbers, seen = np.arange(self._size), table[: self._size]
        else:
            mine = agents < self._size
            numbers, seen = agents[mine], table[mine]
        if not len(numbers):
            return
        self._own.infer(seen, None if agents is None else numbers)
        self.updates += len(numbers)
        self.learned += float(self._watched.free_energy[numbers].sum(dtype=np.float64))
        self.delivered += float(self._own.free_energy[numbers].sum(dtype=np.float64))

    def failed(self) -> bool:
        """Return whether the learned model has failed in this window."""
        if self.updates < LEAST:
            return False
        watched, own = self._contradictions
        learned = (self._watched.contradictions - watched) / self.steps
        delivered = (self._own.contradictions - own) / self.updates
        worse = self.learned - self.delivered > MARGIN * self.updates
        return worse or learned > delivered + RATE

    def saved(self) -> dict[str, Any]:
        """Return its state in plain types."""
        return {
            "beliefs": self._own.checkpoint().hex(),
            "window": [self.updates, self.steps, self.learned, self.delivered, *self._contradictions],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        self._own.restore(bytes.fromhex(state["beliefs"]))
        updates, steps, learned, delivered, *contradictions = state["window"]
        self.updates, self.steps = int(updates), int(steps)
        self.learned, self.delivered = float(learned), float(delivered)
        self._contradictions = int(contradictions[0]), int(contradictions[1])


def _part(scratch: NDArray[np.float32], columns: tuple[Column, ...]) -> NDArray[np.float32]:
    """Return as much of ``scratch`` as ``columns`` have: two populations whose calls take turns share it."""
    rows, floats = next(column.shape for column in columns if column.name == "scratch")
    return scratch[:rows, :floats]
