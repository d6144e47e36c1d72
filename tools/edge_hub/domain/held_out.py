"""How likely a model makes readings that it was not made of: the exact filter over joint states, in float64.

Readings are outcomes ``trace_obs`` int [T, M], -1 where there is none; with ``trace_executed`` int [T, F],
the action after each of them (0 if missing, for models that have one action), and ``trace_restarts``, before
which readings the agent begins again from D: the names under which ``export_pymdp`` keeps a live agent's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError

Float = NDArray[np.float64]
MAX_STATES = 2_000
"""Joint states."""


def log_likelihood(model: Mapping[str, NDArray[Any]], readings: Mapping[str, NDArray[Any]]) -> float:
    """Return the mean of log p(reading | readings before it), in nats per reading.

    Raises
    ------
    ModelError
        Readings do not fit the model, or it has too many joint states.
    """
    A, B = (_numbered(model, letter) for letter in "AB")
    sizes = tuple(len(b) for b in B)
    if math.prod(sizes) > MAX_STATES:
        raise ModelError(f"{math.prod(sizes)} joint states, expected at most {MAX_STATES}")
    A_deps = _dependencies(model, "A_deps", [list(range(len(B)))] * len(A), len(B))
    B_deps = _dependencies(model, "B_deps", [[f] for f in range(len(B))], len(B))
    for letter, tensors, dependencies in (("A", A, A_deps), ("B", B, B_deps)):
        for i, (tensor, deps) in enumerate(zip(tensors, dependencies, strict=True)):
            wanted = tuple(sizes[d] for d in deps)
            if tensor.shape[1 : 1 + len(deps)] != wanted or tensor.ndim != len(deps) + (
                2 if letter == "B" else 1
            ):
                raise ModelError(f"{letter}_{i}: shape {tensor.shape}, expected columns {wanted}")
    start = [_column(model, f, size) for f, size in enumerate(sizes)]
    outcomes, executed, restarts = _readings(readings, A, [b.shape[-1] for b in B])
    likelihood = [_joint(a, deps, sizes) for a, deps in zip(A, A_deps, strict=True)]
    first = _outer(start).ravel()
    moves: dict[tuple[int, ...], Float] = {}
    total, belief = 0.0, first
    for t, row in enumerate(outcomes):
        if t in restarts:
            belief = first
        elif t:
            actions = tuple(executed[t - 1].tolist())
            if actions not in moves:
                moves[actions] = _transition(B, B_deps, actions, sizes)
            belief = moves[actions] @ belief
        joint = belief.copy()
        for table, outcome in zip(likelihood, row, strict=True):
            if outcome >= 0:
                joint *= table[outcome]
        seen = max(float(joint.sum()), float(np.finfo(np.float64).tiny))
        total += math.log(seen)
        belief = joint / seen
    return total / len(outcomes)


def _joint(a: Float, deps: Sequence[int], sizes: tuple[int, ...]) -> Float:
    """Return A [O, joint states]."""
    order = sorted(range(len(deps)), key=lambda i: deps[i])
    moved = np.transpose(a, (0, *(1 + i for i in order)))
    shape = [size if f in deps else 1 for f, size in enumerate(sizes)]
    full = np.broadcast_to(moved.reshape(len(a), *shape), (len(a), *sizes))
    return np.ascontiguousarray(full).reshape(len(a), -1)


def _transition(
    B: Sequence[Float], B_deps: Sequence[Sequence[int]], actions: tuple[int, ...], sizes: tuple[int, ...]
) -> Float:
    """Return the joint transition [after, before]."""
    count = len(sizes)
    operands: list[Any] = []
    for f, (b, deps) in enumerate(zip(B, B_deps, strict=True)):
        operands += [b[..., actions[f]], [f, *(count + d for d in deps)]]
    for f, size in enumerate(sizes):  # a factor on which nothing depends
        operands += [np.ones(size), [count + f]]
    out = np.einsum(*operands, list(range(2 * count)), optimize=True)
    return np.asarray(out, np.float64).reshape(math.prod(sizes), -1)


def _outer(vectors: Sequence[Float]) -> Float:
    out = np.ones(())
    for vector in vectors:
        out = np.multiply.outer(out, vector)
    return out


def _numbered(model: Mapping[str, NDArray[Any]], letter: str) -> list[Float]:
    out: list[Float] = []
    while f"{letter}_{len(out)}" in model:
        out.append(np.asarray(model[f"{letter}_{len(out)}"], np.float64))
    if not out:
        raise ModelError(f"{letter}_0 is missing")
    return out


def _column(model: Mapping[str, NDArray[Any]], factor: int, size: int) -> Float:
    if f"D_{factor}" not in model:
        return np.full(size, 1 / size)
    out = np.asarray(model[f"D_{factor}"], np.float64)
    if out.shape != (size,):
        raise ModelError(f"D_{factor}: shape {out.shape}, expected ({size},)")
    return out


def _dependencies(
    model: Mapping[str, NDArray[Any]], name: str, default: list[list[int]], factors: int
) -> list[list[int]]:
    if name not in model:
        return default
    try:
        value: Any = json.loads(str(model[name]))
    except ValueError as error:
        raise ModelError(f"{name}: not JSON") from error
    good = isinstance(value, list) and len(value) == len(default)
    if not good or not all(isinstance(d, list) and set(d) <= set(range(factors)) for d in value):
        raise ModelError(f"{name}: expected {len(default)} lists of factors")
    return [list(d) for d in value]


def _readings(
    readings: Mapping[str, NDArray[Any]], A: Sequence[Float], actions: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], frozenset[int]]:
    if "trace_obs" not in readings:
        raise ModelError("trace_obs is missing: expected outcomes int [readings, modalities]")
    obs = readings["trace_obs"]
    if obs.ndim != 2 or obs.dtype.kind not in "iu" or not len(obs) or obs.shape[1] != len(A):
        raise ModelError(f"trace_obs: {obs.dtype} {obs.shape}, expected int (readings, {len(A)})")
    for i, a in enumerate(A):
        low, high = int(obs[:, i].min()), int(obs[:, i].max())
        if low < -1 or high >= len(a):
            raise ModelError(f"trace_obs: modality {i} has {low} to {high}, expected -1 to {len(a) - 1}")
    if "trace_executed" in readings:
        executed = readings["trace_executed"]
    elif max(actions) == 1:
        executed = np.zeros((len(obs), len(actions)), np.int64)
    else:
        raise ModelError("trace_executed is missing: expected the action after each reading")
    fits = executed.shape == (len(obs), len(actions)) and executed.dtype.kind in "iu"
    if not fits or (executed < 0).any() or (executed >= np.array(actions)).any():
        raise ModelError(f"trace_executed: expected int ({len(obs)}, {len(actions)}), each an action")
    restarts = readings.get("trace_restarts", np.zeros(0, np.int64))
    return obs.astype(np.int64), executed.astype(np.int64), frozenset(np.ravel(restarts).astype(int).tolist())
