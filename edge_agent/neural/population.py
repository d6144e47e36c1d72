"""A population of agents that share a network, behind the face of ``engine.Population``.

Theory of operation. Observations [n, *observation_shape] are put into each agent's window (a ring of the last
K, filled with the first observation at the start), the windows go through the network a batch at a time, and
an action is taken from one of its outputs. All columns are planned beforehand and come out of the arena. What
the runtime itself holds is its own memory, one batch of activations, and is counted by
``benchmarks/neural.py``.

Sampling draws from a counter-based generator (Philox, Salmon et al. 2011) keyed by seed, tick and agent: an
agent's draws do not depend on who else is stepped, and a restored population goes on as the stored one would.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.errors import BundleError, ObservationError
from edge_agent.memory.arena import Column, total
from edge_agent.neural.model import NeuralModel
from edge_agent.wire import npz

MAX_BATCH = 1024  # bounds a batch's activations, which are the runtime's own memory
Allocate = Callable[[tuple[Column, ...]], dict[str, NDArray[Any]]]


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
        self._outputs = [arrays[f"y_{index}"] for index in range(len(model.output_shapes))]
        self._nbytes = total(columns)
        self._runtime = model.open(min(size, MAX_BATCH), threads)
        self._everyone = np.arange(size)
        self._shape = model.observation_shape
        self._act = {"argmax": self._argmax, "sample": self._sample, "value": self._value}[model.action]

    @staticmethod
    def columns(model: NeuralModel, size: int, threads: int = 1) -> tuple[Column, ...]:
        """Return what a population will need, for the memory plan."""
        outputs = (
            Column(f"y_{index}", (size, *shape), np.float32)
            for index, shape in enumerate(model.output_shapes)
        )
        ring = (size, model.window, *model.observation_shape) if model.window > 1 else (0,)
        return (Column("window", ring, np.float32), Column("seen", (size,), np.uint32), *outputs)

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
        x, who = self._observed(observations, agents)
        if self._window.size:
            x = self._seen_through_window(x, who)
        batch = self._runtime.batch
        if agents is None and len(x) == batch:  # the common case, without slices
            for kept, y in zip(self._outputs, self._runtime.run(x), strict=True):
                kept[...] = y
        else:
            for start in range(0, len(x), batch):
                end = start + batch
                self._run(x[start:end], slice(start, end) if agents is None else who[start:end])
        self.tick += 1
        return self._act(who)

    def infer(self, observations: ArrayLike, agents: ArrayLike | None = None) -> None:
        """Take observations into the windows without running the network."""
        x, who = self._observed(observations, agents)
        if self._window.size:
            self._push(x, who)

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
            The checkpoint is of another model or size; nothing was changed.
        """
        state = npz.parse(checkpoint, f"{self.model.name}: checkpoint", BundleError)
        try:
            window, seen = state["window"], state["seen"]
            tick, seed = int(state["tick"]), int(state["seed"])
        except (KeyError, ValueError, TypeError) as error:
            raise BundleError(f"{self.model.name}: not a checkpoint of a network ({error})") from error
        if window.shape != self._window.shape or seen.shape != self._seen.shape:
            raise BundleError(
                f"{self.model.name}: checkpoint of {window.shape}, expected {self._window.shape}"
            )
        self._window[...], self._seen[...] = window, seen
        self.tick, self.seed = tick, seed

    def _observed(
        self, observations: ArrayLike, agents: ArrayLike | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        x = np.ascontiguousarray(observations, dtype=np.float32)
        who = self._everyone if agents is None else np.asarray(agents, dtype=np.int64)
        if x.shape != (len(who), *self._shape):
            raise ObservationError(
                f"{self.model.name}: observations are {x.shape}, expected {(len(who), *self._shape)}"
            )
        # The sum of squares is finite only if all are (the reverse does not hold), and it is one BLAS call.
        if not math.isfinite(np.vdot(x, x)) and not np.isfinite(x).all():
            row = int(np.argwhere(~np.isfinite(x))[0][0])
            raise ObservationError(f"{self.model.name}: observation of agent {who[row]} is not finite")
        return x, who

    def _run(self, x: NDArray[np.float32], who: slice | NDArray[np.int64]) -> None:
        """Run at most a batch; the rest of it is zeros that nobody looks at."""
        count, batch = len(x), self._runtime.batch
        if count < batch:
            x = np.concatenate([x, np.zeros((batch - count, *x.shape[1:]), np.float32)])
        for kept, y in zip(self._outputs, self._runtime.run(x), strict=True):
            kept[who] = y if count == batch else y[:count]

    def _seen_through_window(self, x: NDArray[np.float32], who: NDArray[np.int64]) -> NDArray[np.float32]:
        """Push the observations and return what the network sees, [n, *input_shape]."""
        self._push(x, who)
        length, axis = self.model.window, self.model.window_axis
        if len(who) == self.size and (self._seen == self._seen[0]).all():  # in step: slices, no gather
            first = int(self._seen[0]) % length
            ordered = np.concatenate([self._window[:, first:], self._window[:, :first]], axis=1)[who]
        else:
            slots = (self._seen[who, None] + np.arange(length, dtype=np.uint32)) % length
            ordered = self._window[who[:, None], slots]
        # [n, K, *observation], the oldest first, to [n, *input_shape]
        return np.ascontiguousarray(
            np.moveaxis(ordered, 1, axis + 1).reshape(len(x), *self.model.input_shape)
        )

    def _push(self, x: NDArray[np.float32], who: NDArray[np.int64]) -> None:
        new = self._seen[who] == 0
        self._window[who[new]] = x[new, None]
        self._window[who, self._seen[who] % self.model.window] = x
        self._seen[who] += 1

    def _argmax(self, who: NDArray[np.int64]) -> NDArray[Any]:
        y = self._outputs[self.model.action_output]
        picked: NDArray[Any] = (y if len(who) == self.size else y[who]).argmax(axis=1)[:, None]
        return picked

    def _value(self, who: NDArray[np.int64]) -> NDArray[Any]:
        value: NDArray[Any] = self._outputs[self.model.action_output][who]
        return value

    def _sample(self, who: NDArray[np.int64]) -> NDArray[Any]:
        y = self._outputs[self.model.action_output][who].astype(np.float64)
        return sampled(y, self.model.logits, draws(self.seed, self.tick, who))


def draws(seed: int, tick: int, agents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each agent at a tick: a function of the three alone."""
    key = np.array([seed, tick], dtype=np.uint64)
    return np.array(
        [np.random.Generator(np.random.Philox(key=key, counter=int(agent))).random() for agent in agents]
    )


def sampled(y: NDArray[np.float64], logits: bool, u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return an index [n, 1] for each row of ``y``, probabilities or logits, and number ``u`` in [0, 1)."""
    weights = np.exp(y - y.max(axis=1, keepdims=True)) if logits else np.maximum(y, 0.0)
    edges = np.cumsum(weights, axis=1)
    picked: NDArray[np.int64] = (edges[:, :-1] <= u[:, None] * edges[:, -1:]).sum(axis=1, dtype=np.int64)
    return picked[:, None]


def _own(columns: tuple[Column, ...]) -> dict[str, NDArray[Any]]:
    return {column.name: np.zeros(column.shape, column.dtype) for column in columns}
