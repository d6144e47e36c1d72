"""Runs a network as a population: numbers in, actions out, without planning and free energy.

Theory of operation. The daemon's columns contain one number per modality; a network takes them as the last
observation of its shape, in the order of memory. It can't work with a number that is missing: an agent that
lacks one doesn't step, and is held safe. What a `PopulationPort` has beside that, a network answers as it is:
free energy is 0, and a horizon means nothing to it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.binding import Binding
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Allocate, Column
from edge_agent.memory.budget import MIB
from edge_agent.neural.network import NeuralModel
from edge_agent.neural.network_population import MAX_BATCH, NeuralPopulation
from edge_agent.runtime.population.actuators import SAFE
from edge_agent.wire.bundle_kinds import ONNX, TFLITE

LIBRARY_BYTES = {
    TFLITE.name: 15 * MIB,
    ONNX.name: 30 * MIB,
}
"""The most that importing and the first model added. On a busy machine more of a library is resident."""
SESSION_BYTES = MIB // 2


def binding(model: NeuralModel, where: str) -> Binding:
    """Return one number per modality, and one control: the index that the network chooses.

    Raises
    ------
    ConfigError
        The action is a value: the daemon tells actions by number. Or names are not as many as numbers.
    """
    if model.action == "value":
        raise ConfigError(f"{where}: its action is a value, the daemon expects argmax or sample")
    (actions,) = model.output_shapes[model.action_output]
    return Binding(model.meta, (0,) * math.prod(model.observation_shape), (actions,), where)


def columns(model: NeuralModel, size: int, threads: int) -> tuple[Column, ...]:
    """Return what `NetworkPort` needs of the arena."""
    return (*NeuralPopulation.columns(model, size, threads), Column("free_energy", (size,), np.float32))


def session_bytes(model: NeuralModel, size: int) -> int:
    """Return about what the runtime holds for a population: itself, two models, a batch's tensors."""
    numbers = math.prod(model.input_shape) + sum(math.prod(shape) for shape in model.output_shapes)
    return SESSION_BYTES + 2 * model.nbytes + 4 * 4 * numbers * min(size, MAX_BATCH)


class NetworkPort:
    """A `runtime.population.population_port.Stepper` over ``neural.NeuralPopulation``; the parameters are its
    own.
    """

    def __init__(
        self, model: NeuralModel, size: int, seed: int = 0, threads: int = 1, allocate: Allocate | None = None
    ) -> None:
        needed = columns(model, size, threads)
        own = {column.name: np.zeros(column.shape, column.dtype) for column in needed}
        arrays = own if allocate is None else allocate(needed)
        self._population = NeuralPopulation(model, size, seed, threads, lambda _: arrays)
        self._shape = model.observation_shape
        self.model = model
        self.size = size
        self.free_energy: NDArray[np.float32] = arrays["free_energy"]
        self.contradictions = 0
        self.nbytes = sum(column.nbytes for column in needed)

    def step(self, observations: NDArray[Any], agents: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """Return an action each (n, 1) for numbers (n, M); SAFE where one is missing."""
        whole = ~np.isnan(observations).any(axis=1)
        x = observations.reshape(len(observations), *self._shape)
        if whole.all():
            return self._population.step(x, agents)
        who = np.arange(self.size) if agents is None else agents
        actions = np.full((len(who), 1), SAFE, np.int64)
        if whole.any():
            actions[whole] = self._population.step(x[whole], who[whole])
        return actions

    def infer(self, observations: NDArray[Any]) -> None:
        """Do nothing: a network does not predict."""

    def decide(self, observations: NDArray[Any], agents: NDArray[np.intp]) -> NDArray[Any]:
        """Return ``step``: for a network each observation is a tick."""
        return self.step(observations, agents)

    def act(self, actions: NDArray[Any], agents: NDArray[np.intp] | None = None) -> None:
        """Do nothing: a network does not predict what its actions bring about."""

    def plan(self, *, horizon: int | None = None) -> None:
        """Do nothing: a network does not plan."""

    def reset(self) -> None:
        """Forget all windows."""
        self._population.reset()

    def checkpoint(self) -> bytes:
        """Return windows, tick and seed."""
        return self._population.checkpoint()

    def restore(self, data: bytes) -> None:
        """Take them back."""
        self._population.restore(data)
