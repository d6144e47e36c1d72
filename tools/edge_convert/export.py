"""``export_pymdp(agent, path)``: writes a live pymdp agent's arrays as the ``.npz`` that ``convert`` reads.

Both generations are taken as they are, without importing them: the JAX agent (pymdp 1.x) has a batch axis in
front of every tensor and its policies in an object; the legacy agent (0.x) has NumPy object arrays. What
belongs to neither's model (learning rates, history, inference settings) is not written: the engine follows
the JAX agent's inference, 16 iterations to the fixed point.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_agent.wire import npz
from edge_convert.readers.agent_source import agent_source


def export_pymdp(agent: Any, path: Path | str, *, batch: int = 0, meta: dict[str, Any] | None = None) -> Path:
    """Write a pymdp agent's model.

    Parameters
    ----------
    agent : pymdp.agent.Agent
        JAX (1.x) or legacy (0.x).
    path : Path
        The ``.npz`` to write.
    batch : int
        Which agent of a JAX batch.
    meta : dict, optional
        Names of modalities, states and controls, bin edges, units, control values.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    ModelError
        The agent's arrays break a rule, or it uses what the engine does not have: one line that names it.
    """
    if getattr(agent, "action_maps", None) is not None:
        raise ModelError("agent: several actions a factor (B_action_dependencies), expected one")
    size = getattr(agent, "batch_size", None)
    if size is not None and not 0 <= batch < size:
        raise ModelError(f"agent: batch {batch}, expected 0 to {size - 1}")
    index = None if size is None else batch
    arrays: dict[str, NDArray[Any]] = {}
    for letter in "ABCD":
        for i, tensor in enumerate(_tensors(getattr(agent, letter), index)):
            arrays[f"{letter}_{i}"] = tensor
    A_deps = _dependencies(agent, ("A_dependencies", "A_factor_list"))
    B_deps = _dependencies(agent, ("B_dependencies", "B_factor_list"))
    for name, dependencies in (("A_deps", A_deps), ("B_deps", B_deps)):
        if dependencies is not None:
            arrays[name] = np.array(json.dumps(dependencies))
    arrays["policies"] = _policies(agent.policies)
    if agent.E is not None:
        arrays["E"] = _one(agent.E, index)
    for name in ("gamma", "alpha"):
        arrays[name] = _one(getattr(agent, name), index).reshape(())
    arrays["policy_len"] = np.array(arrays["policies"].shape[1])
    arrays["meta"] = np.array(json.dumps(meta or {}))
    _check(Path(path), arrays, A_deps, B_deps)
    Path(path).write_bytes(npz.write(arrays))
    return Path(path)


def _tensors(tensors: Sequence[Any], index: int | None) -> list[NDArray[np.float64]]:
    return [_one(tensor, index) for tensor in tensors]


def _one(value: Any, index: int | None) -> NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    return array if index is None else np.asarray(array[index])


def _dependencies(agent: Any, names: Sequence[str]) -> list[list[int]] | None:
    for name in names:
        found = getattr(agent, name, None)
        if found is not None:
            return [[int(factor) for factor in factors] for factors in found]
    return None


def _policies(policies: Any) -> NDArray[np.int64]:
    if isinstance(policies, list):
        return np.stack([np.asarray(policy) for policy in policies]).astype(np.int64)
    return np.asarray(getattr(policies, "policy_arr", policies)).astype(np.int64)


def _check(
    path: Path,
    arrays: dict[str, NDArray[Any]],
    A_deps: list[list[int]] | None,
    B_deps: list[list[int]] | None,
) -> None:
    """Refuse now what ``convert`` would refuse later."""

    def series(letter: str) -> list[NDArray[Any]]:
        return [arrays[key] for key in arrays if key.startswith(f"{letter}_") and not key.endswith("deps")]

    agent_source(
        path,
        series("A"),
        series("B"),
        series("C"),
        series("D"),
        E=arrays.get("E"),
        policies=arrays["policies"],
        A_deps=A_deps,
        B_deps=B_deps,
        gamma=float(arrays["gamma"]),
        alpha=float(arrays["alpha"]),
        meta={},
    )
