"""Runs a model over recorded observations, as ``edge-agent infer`` does.

Input: ``obs`` int [T, M] or [T, N, M] (-1: not observed), and for a teacher-forced run ``act`` int [T, F] or
[T, N, F], the action that was really executed after each tick. ``soft_0 ...`` float [T, O_m] or [T, N, O_m]
are distributions over a modality's outcomes in place of ``obs``; rows of zeros leave that as it is. Output, N
dropped when the input has none: ``qs_0 ...`` float32 [T, N, S_f], ``G`` and ``q_pi`` float32 [T, N, P],
``act`` int64 [T, N, F].
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine.model import Model
from edge_agent.engine.population import Population
from edge_agent.engine.reference import EPSILON
from edge_agent.errors import ObservationError


def run(
    model: Model,
    obs: ArrayLike,
    act: ArrayLike | None = None,
    *,
    agents: int | None = None,
    seed: int = 0,
    threads: int = 1,
    restarts: Collection[int] = (),
    soft: Mapping[int, ArrayLike] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return what every tick gave; shapes stand in the module's head.

    Parameters
    ----------
    agents : int, optional
        Copies of the one trace [T, M] that are run side by side; the output then has N.
    restarts : collection of int
        Ticks before which every agent starts again from D.
    soft : mapping of modality to array_like of float, optional
        Distributions over outcomes, shaped as the module's head says.

    Raises
    ------
    ObservationError
    """
    outcomes = np.asarray(obs)
    if outcomes.ndim not in (2, 3) or outcomes.dtype.kind not in "iu":
        raise ObservationError(
            f"obs: {outcomes.dtype} of shape {outcomes.shape}, expected integers [T, M] or [T, N, M]"
        )
    single = outcomes.ndim == 2
    if single:
        outcomes = np.repeat(outcomes[:, np.newaxis], agents or 1, axis=1)
    ticks, size = outcomes.shape[:2]
    if not single and agents not in (None, size):
        raise ObservationError(f"obs: {size} agents, expected {agents}")
    forced = None if act is None else _executed(act, ticks, size, len(model.B))
    tables = {m: _distributions(m, values, ticks, size) for m, values in (soft or {}).items()}
    population = Population(model, max(size, 1), seed=seed, threads=threads)
    policies = len(model.policies)
    out: dict[str, NDArray[Any]] = {
        f"qs_{f}": np.empty((ticks, size, n), np.float32) for f, n in enumerate(model.num_states)
    }
    out |= {name: np.empty((ticks, size, policies), np.float32) for name in ("G", "q_pi")}
    out["act"] = np.empty((ticks, size, len(model.B)), np.int64)
    for t in range(ticks):
        if t in restarts:
            population.reset()
        if tables:
            observed = {m: table[t] for m, table in tables.items()}
            out["act"][t] = population.step_with(outcomes[t], soft=observed)
        else:
            out["act"][t] = population.step(outcomes[t])
        for f in range(len(model.B)):
            out[f"qs_{f}"][t] = np.maximum(population.beliefs(f), EPSILON)
        out["G"][t], out["q_pi"][t] = population.evaluate()
        if forced is not None:
            population.act(forced[t])
    return {name: array[:, 0] for name, array in out.items()} if single and agents is None else out


def _executed(act: ArrayLike, ticks: int, size: int, factors: int) -> NDArray[Any]:
    array = np.asarray(act)
    if array.ndim == 2:
        array = np.repeat(array[:, np.newaxis], size, axis=1)
    if array.shape != (ticks, size, factors) or array.dtype.kind not in "iu":
        raise ObservationError(
            f"act: {array.dtype} of shape {np.asarray(act).shape}, expected integers [{ticks}, {factors}]"
        )
    return array


def _distributions(modality: int, values: ArrayLike, ticks: int, size: int) -> NDArray[np.float32]:
    array = np.asarray(values)
    if array.ndim == 2:
        array = np.repeat(array[:, np.newaxis], size, axis=1)
    if array.ndim != 3 or array.shape[:2] != (ticks, size) or array.dtype.kind != "f":
        raise ObservationError(
            f"soft_{modality}: {array.dtype} of shape {np.asarray(values).shape}, "
            f"expected numbers [{ticks}, outcomes]"
        )
    return array.astype(np.float32)
