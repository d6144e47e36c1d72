"""A network over recorded inputs: what ``edge-agent infer`` does for neural bundles, as a pure function."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ObservationError
from edge_agent.neural.network import NeuralModel
from edge_agent.neural.network_population import NeuralPopulation


def infer(
    model: NeuralModel,
    x: NDArray[Any],
    *,
    agents: int | None = None,
    seed: int = 0,
    threads: int = 1,
    restarts: Collection[int] = (),
) -> dict[str, NDArray[Any]]:
    """Run a population over a recording.

    Parameters
    ----------
    model : NeuralModel
        The network.
    x : array, float [T, *observation_shape] or [T, N, *observation_shape]
        Observations of one or N agents at T ticks, in the float model's units.
    agents : int, optional
        Copies of the one recording [T, *observation_shape] that are run side by side; the output then has N.
    seed : int
        Of sampled actions.
    threads : int
        Threads of the runtime.
    restarts : collection of int
        Ticks before which every agent forgets its window.

    Returns
    -------
    dict
        ``y_0`` ... float32 [T, N, *shape], the outputs in the float model's units, and ``act`` [T, N, 1]
        (int64; float32 [T, N, *shape] where the action is a value); N is dropped where ``x`` has none.

    Raises
    ------
    ObservationError
        ``x`` is not of the network's shape, or not finite.
    """
    shape = model.observation_shape
    single = x.ndim == len(shape) + 1
    fits = x.ndim - len(shape) in (1, 2) and x.shape[x.ndim - len(shape) :] == shape
    if not x.size or not fits or x.dtype.kind not in "fiu":
        wanted = ", ".join(str(n) for n in shape)
        raise ObservationError(
            f"{model.name}: x is {x.dtype} {x.shape}, expected float [T, {wanted}] or [T, N, {wanted}]"
        )
    if not single and agents not in (None, x.shape[1]):
        raise ObservationError(f"{model.name}: x is of {x.shape[1]} agents, expected {agents}")
    batched = np.repeat(x[:, None], agents or 1, axis=1) if single else x
    population = NeuralPopulation(model, batched.shape[1], seed, threads)
    acts, outputs = [], []
    for t, observations in enumerate(batched):
        if t in restarts:
            population.reset()
        acts.append(population.step(observations))
        outputs.append([population.output(index).copy() for index in range(len(model.output_shapes))])
    result = {f"y_{index}": np.stack(ys) for index, ys in enumerate(zip(*outputs, strict=True))}
    result["act"] = np.stack(acts)
    return {name: array[:, 0] for name, array in result.items()} if single and agents is None else result
