"""Agents that learn each by itself: a model, counts and a guard of its own an agent.

Theory of operation. The lanes of a population share one model. So agents that learn by themselves are
populations of one, each with a learner, behind the interface of a population. What belongs to one agent lies
in memory agent after agent; what is used within a call alone, or is the same for all, is there once: scratch
memory, the tables of the delivered model, and the numbers of codes.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.input_checks import outcomes
from edge_agent.engine.kernel_args import changed
from edge_agent.engine.population import Population
from edge_agent.engine.stored_model import StoredModel
from edge_agent.errors import ConfigError, ObservationError
from edge_agent.memory.arena import Allocate, Column, apart, total
from edge_agent.memory.rows import agent_numbers
from edge_agent.wire.increments import Increments

MAGIC = "edge-agent own models 1"
ONCE = ("scratch", "count_scratch", "numbers", "tables", "guard.tables", "guard.weights")
STRIDE = 0x9E3779B97F4A7C15
"""Between the seeds of agents: each draws numbers of its own."""
OBJECT_BYTES = 100_000
"""Of the objects of an agent beside its arrays: 60 to 93 kB were seen."""
Soft = Mapping[int, ArrayLike]


class OwnModels(Population):
    """``size`` agents that begin with ``model`` and learn each by itself.

    Parameters
    ----------
    model, size, seed, allocate, redecides
        As in ``Population``.
    concentrations, every
        As in ``Learner``.
    """

    def __init__(
        self,
        model: StoredModel,
        size: int,
        concentrations: Concentrations,
        every: int,
        seed: int = 0,
        allocate: Allocate | None = None,
        *,
        redecides: bool = False,
    ) -> None:
        columns = self.all_columns(model, size, concentrations, every, redecides)
        own_model = changed(model)
        arrays = (allocate or apart)(columns)
        self.model, self.size, self.seed, self.nbytes = model, size, seed, total(columns)
        self.runner = None
        self.agents = list[Population]()
        self.learners = list[Learner]()
        for n in range(size):
            own = {name: array if name in ONCE else array[n] for name, array in arrays.items()}

            def given(
                wanted: tuple[Column, ...], own: dict[str, NDArray[Any]] = own
            ) -> dict[str, NDArray[Any]]:
                return {column.name: own[column.name] for column in wanted}

            one = Population(
                own_model,
                1,
                seed=(seed + n * STRIDE) % 2**64,
                allocate=given,
                redecides=redecides,
                changing=True,
            )
            self.agents.append(one)
            self.learners.append(Learner(one, concentrations, every=every, allocate=given))

    @staticmethod
    def all_columns(
        model: StoredModel, size: int, concentrations: Concentrations, every: int, redecides: bool = False
    ) -> tuple[Column, ...]:
        """Return the arrays that it needs, for the memory plan."""
        one = (
            *Population.columns(changed(model), 1, 1, redecides, True),
            *Learner.columns(model, 1, concentrations, every=every),
        )
        return tuple(c if c.name in ONCE else Column(c.name, (size, *c.shape), c.dtype) for c in one)

    def step(self, observations: ArrayLike, agents: ArrayLike | None = None) -> NDArray[np.int64]:
        """As ``Population.step``."""
        return self._each(lambda one, row, _: one.step(row), observations, agents)

    def decide(
        self, observations: ArrayLike, agents: ArrayLike | None = None, *, soft: Soft | None = None
    ) -> NDArray[np.int64]:
        """As ``Population.decide``."""
        return self._each(lambda one, row, own: one.decide(row, soft=own), observations, agents, soft)

    def infer(self, observations: ArrayLike, agents: ArrayLike | None = None) -> None:
        """As ``Population.infer``."""
        self._each(lambda one, row, _: one.infer(row), observations, agents)

    def step_with(
        self,
        observations: ArrayLike,
        agents: ArrayLike | None = None,
        *,
        soft: Soft | None = None,
        evidence: Mapping[int, ArrayLike] | None = None,
        act: bool = True,
    ) -> NDArray[np.int64] | None:
        """As ``Population.step_with``; evidence from outside is refused."""
        if evidence:
            raise ConfigError("learn: evidence from outside, for agents that learn by themselves")
        return self._each(
            lambda one, row, own: one.step_with(row, soft=own, act=act), observations, agents, soft
        )

    def _each(
        self,
        call: Callable[[Population, NDArray[np.int64], Soft | None], NDArray[np.int64] | None],
        observations: ArrayLike,
        agents: ArrayLike | None,
        soft: Soft | None = None,
    ) -> NDArray[np.int64]:
        numbers = self._numbers(agents)
        table = outcomes(self.model, observations, numbers, self.size)
        for i, m in np.argwhere((table < -1) | (table >= np.array(self.model.num_obs)))[:1].tolist():
            raise ObservationError(
                f"observations: agent {numbers[i]}, modality {m}: outcome {table[i, m]}, "
                f"expected -1 to {self.model.num_obs[m] - 1}"
            )
        out = np.full((len(numbers), len(self.model.B)), -1, np.int64)
        for i, (one, _) in enumerate(self._chosen(numbers)):
            own = {m: np.asarray(weights)[i : i + 1] for m, weights in (soft or {}).items()}
            found = call(one, table[i : i + 1], own or None)
            if found is not None:
                out[i] = found[0]
        return out

    def _numbers(self, agents: ArrayLike | None) -> NDArray[np.int64]:
        return np.arange(self.size) if agents is None else agent_numbers(agents, self.size)

    def _chosen(self, numbers: NDArray[np.int64]) -> Iterator[tuple[Population, int]]:
        return ((self.agents[n], i) for i, n in enumerate(numbers.tolist()))

    def act(self, actions: ArrayLike, agents: ArrayLike | None = None) -> None:
        """As ``Population.act``."""
        rows = np.asarray(actions)
        for one, i in self._chosen(self._numbers(agents)):
            one.act(rows[i : i + 1])

    def plan(self, *, horizon: int | None = None, epistemic: bool = True) -> None:
        """As ``Population.plan``."""
        for one in self.agents:
            one.plan(horizon=horizon, epistemic=epistemic)

    def prefer(self, added: Mapping[int, ArrayLike] | None = None) -> None:
        """As ``Population.prefer``."""
        for one in self.agents:
            one.prefer(added)

    def reset(self, agents: ArrayLike | None = None) -> None:
        """As ``Population.reset``; what was learned stays."""
        for one, _ in self._chosen(self._numbers(agents)):
            one.reset()

    def beliefs(self, f: int, agents: ArrayLike | None = None) -> NDArray[np.float32]:
        """As ``Population.beliefs``."""
        return np.concatenate([one.beliefs(f) for one, _ in self._chosen(self._numbers(agents))])

    def codes(self, agents: ArrayLike | None = None) -> NDArray[np.uint8]:
        """As ``Population.codes``."""
        return np.concatenate([one.codes() for one, _ in self._chosen(self._numbers(agents))])

    def evaluate(self, agents: ArrayLike | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As ``Population.evaluate``."""
        G, posterior = zip(*(one.evaluate() for one, _ in self._chosen(self._numbers(agents))), strict=True)
        return np.concatenate(G), np.concatenate(posterior)

    @property
    def free_energy(self) -> NDArray[np.float32]:
        """As ``Population.free_energy``."""
        return np.concatenate([one.free_energy for one in self.agents])

    @property
    def contradictions(self) -> int:
        """As ``Population.contradictions``."""
        return sum(one.contradictions for one in self.agents)

    def figures(self) -> dict[str, int | float]:
        """Return the sums of what ``Learner.figures`` says of each agent."""
        found = [learner.figures() for learner in self.learners]
        return {name: sum(one[name] for one in found) for name in found[0]}

    def increments(self) -> Increments:
        """Return what all agents counted: that of a population which shares its counts."""
        return reduce(operator.add, (learner.increments() for learner in self.learners))

    def checkpoint(self) -> bytes:
        """As ``Population.checkpoint``, with what was learned."""
        parts = [one.checkpoint() for one in self.agents]
        body = b"".join(parts)
        head = {"magic": MAGIC, "sizes": [len(part) for part in parts]}
        head["sha256"] = hashlib.sha256(body).hexdigest()
        return json.dumps(head).encode("ascii") + b"\n" + body

    def restore(self, data: bytes) -> None:
        """As ``Population.restore``."""
        line, _, body = data.partition(b"\n")
        try:
            head = json.loads(line)
            magic, sizes, digest = head["magic"], [int(size) for size in head["sizes"]], head["sha256"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError("checkpoint: not one of agents that learn by themselves") from error
        if magic != MAGIC or len(sizes) != self.size or min(sizes, default=0) < 0:
            raise ConfigError(f"checkpoint: not one of {self.size} agents that learn by themselves")
        if hashlib.sha256(body).hexdigest() != digest or sum(sizes) != len(body):
            raise ConfigError("checkpoint: of agents that learn by themselves, damaged")
        ends = np.cumsum([0, *sizes]).tolist()
        for one, (start, end) in zip(self.agents, pairwise(ends), strict=True):
            one.restore(body[start:end])
