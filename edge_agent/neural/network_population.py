"""A population of agents that share a network, behind the face of ``engine.Population``.

Theory of operation. Observations [n, *observation_shape] are put into each agent's window (a ring of the last
K, filled with the first observation at the start), the windows go through the network a batch at a time, and
an action is taken from one of its outputs. All columns are planned beforehand and come out of the arena. What
the runtime itself holds is its own memory, one batch of activations, and is counted by
``benchmarks/neural.py``. Checks, windows, copies and the largest score are one call into C (``kernel/``): on
a network of three microseconds, Python would cost as much as the network.

Sampling draws from a counter-based generator (Philox, Salmon et al. 2011) keyed by seed, tick and agent: an
agent's draws do not depend on who else is stepped, and a restored population goes on as the stored one would.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.errors import BundleError
from edge_agent.memory.arena import Allocate, Column, total
from edge_agent.memory.rows import agent_numbers
from edge_agent.neural._feed import Feed, draw
from edge_agent.neural.network import NeuralModel
from edge_agent.wire import npz

MAX_BATCH = 1024  # bounds a batch's activations, which are the runtime's own memory


class NeuralPopulation:
    """``size`` agents on one network.

    Parameters
    ----------
    model : NeuralModel
        The network.
    size : int
        Agents.
    seed : int
        Of sampled actions.
    threads : int
        Threads of the runtime.
    allocate : callable, optional
        Gives arrays for columns, e.g. ``partial(arena.allocate, owner)``; default: arrays of its own.
    """

    def __init__(
        self, model: NeuralModel, size: int, seed: int = 0, threads: int = 1, allocate: Allocate | None = None
    ) -> None:
        self.model = model
        self.size = size
        self.seed = seed
        self.tick = 0
        columns = self.columns(model, size, threads)
        arrays = _own(columns) if allocate is None else allocate(columns)
        self._window = arrays["window"]
        self._seen = arrays["seen"]
        self._chosen = arrays["chosen"]
        self._outputs = [arrays[f"y_{index}"] for index in range(len(model.output_shapes))]
        self._nbytes = total(columns)
        runtime = model.open(min(size, MAX_BATCH), threads)
        self._feed = Feed(
            model.name,
            size,
            runtime.batch,
            model.observation_shape,
            model.interleaving,
            self._window,
            self._seen,
            self._chosen,
            tuple(self._outputs),
            model.action_output if model.action == "argmax" else -1,
            runtime.put,
            runtime.invoke,
            runtime.take,
        )
        self._everyone = np.arange(size)
        self._act = {"argmax": None, "sample": self._sample, "value": self._value}[model.action]

    @staticmethod
    def columns(model: NeuralModel, size: int, threads: int = 1) -> tuple[Column, ...]:
        """Return what a population will need, for the memory plan."""
        outputs = (
            Column(f"y_{index}", (size, *shape), np.float32)
            for index, shape in enumerate(model.output_shapes)
        )
        return (
            Column("window", (size, *model.input_shape) if model.window > 1 else (0,), np.float32),
            Column("seen", (size,), np.uint32),
            Column("chosen", (size, 1), np.int64),
            *outputs,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the columns."""
        return self._nbytes

    @property
    def contradictions(self) -> int:
        """Always 0: a network has no model of the world that an observation could contradict."""
        return 0

    def step(self, observations: ArrayLike, agents: ArrayLike | None = None) -> NDArray[Any]:
        """Run the network for some or all agents and return their actions.

        Parameters
        ----------
        observations : array, float [n, *observation_shape]
            In the float model's units.
        agents : int array [n], optional
            Who observed them; default: everyone, in order.

        Returns
        -------
        array
            int64 [n, 1], or float32 [n, *shape] where the action is a value.

        Raises
        ------
        ObservationError
            The shape is not the network's, or a number is not finite; no agent was stepped.
        """
        if agents is None:
            self._feed.step(observations, None)
            self.tick += 1
            return self._chosen.copy() if self._act is None else self._act(self._everyone)
        who = agent_numbers(agents, self.size)
        self._feed.step(observations, who)
        self.tick += 1
        return self._chosen[: len(who)].copy() if self._act is None else self._act(who)

    def infer(self, observations: ArrayLike, agents: ArrayLike | None = None) -> None:
        """Take observations into the windows without running the network."""
        self._feed.infer(observations, None if agents is None else agent_numbers(agents, self.size))

    def act(self, actions: ArrayLike, agents: ArrayLike | None = None) -> None:
        """Do nothing: a network does not predict from what was done."""

    def output(self, index: int) -> NDArray[np.float32]:
        """Return output ``index`` of every agent's last step, [size, *shape], in the float model's units."""
        out: NDArray[np.float32] = self._outputs[index]
        return out

    def reset(self, agents: ArrayLike | None = None) -> None:
        """Forget the windows of some or all agents."""
        self._seen[self._everyone if agents is None else np.asarray(agents)] = 0

    def checkpoint(self) -> bytes:
        """Return the state that ``restore`` takes."""
        return npz.write(
            {
                "window": self._window,
                "seen": self._seen,
                "tick": np.array(self.tick),
                "seed": np.array(self.seed),
            }
        )

    def restore(self, checkpoint: bytes) -> None:
        """Go on where a population of the same model and size was.

        Raises
        ------
        BundleError
            The checkpoint is damaged, or of another model or size; nothing was changed.
        """
        where = f"{self.model.name}: checkpoint"
        state = npz.parse(checkpoint, where, BundleError)
        number = np.zeros((), np.int64)
        for name, own in (("window", self._window), ("seen", self._seen), ("tick", number), ("seed", number)):
            found = state.get(name)
            if found is None or (found.dtype, found.shape) != (own.dtype, own.shape):
                what = "nothing" if found is None else f"{found.dtype} {found.shape}"
                raise BundleError(f"{where}: {name}: found {what}, expected {own.dtype} {own.shape}")
        if not np.isfinite(state["window"]).all():
            raise BundleError(f"{where}: window: found a number that is not finite")
        self._window[...], self._seen[...] = state["window"], state["seen"]
        self.tick, self.seed = int(state["tick"]), int(state["seed"])

    def _value(self, who: NDArray[np.int64]) -> NDArray[Any]:
        value: NDArray[Any] = self._outputs[self.model.action_output][who]
        return value

    def _sample(self, who: NDArray[np.int64]) -> NDArray[Any]:
        y = self._outputs[self.model.action_output][who].astype(np.float64)
        return sampled(y, self.model.logits, draws(self.seed, self.tick, who))


def draws(seed: int, tick: int, agents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each agent at a tick: a function of the three alone."""
    numbers = np.empty(len(agents))
    draw(seed, tick, agents, numbers)
    return numbers


def sampled(y: NDArray[np.float64], logits: bool, u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return an index [n, 1] for each row of ``y``, probabilities or logits, and number ``u`` in [0, 1)."""
    weights = np.exp(y - y.max(axis=1, keepdims=True)) if logits else np.maximum(y, 0.0)
    edges = np.cumsum(weights, axis=1)
    picked: NDArray[np.int64] = (edges[:, :-1] <= u[:, None] * edges[:, -1:]).sum(axis=1, dtype=np.int64)
    return picked[:, None]


def _own(columns: tuple[Column, ...]) -> dict[str, NDArray[Any]]:
    return {column.name: np.zeros(column.shape, column.dtype) for column in columns}
