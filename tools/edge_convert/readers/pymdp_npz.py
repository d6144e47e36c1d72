"""Reads the arrays of a pymdp agent out of a ``.npz``.

=============================  ==========================================  ==============================
key                            shape                                       default
=============================  ==========================================  ==============================
``A_0`` ...                    [O_i, *states of A_deps[i]]                 required
``B_0`` ...                    [S_f, *states of B_deps[f], U_f]            required
``C_0`` ...                    [O_i] or [T, O_i]                           zeros, as in pymdp
``D_0`` ...                    [S_f]                                       uniform, as in pymdp
``E``                          [P]                                         uniform
``policies``                   [P, T, F]                                   all of length ``policy_len``
``A_deps``, ``B_deps``         JSON, a list of factors for each tensor     all factors; [f]
``policy_len``                 integer                                     1
``gamma``, ``alpha``           number                                      16
``meta``                       JSON object                                 {}
=============================  ==========================================  ==============================

Whether the numbers are a model (distributions sum to 1, shapes fit each other) is checked by the engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_agent.wire import npz
from edge_convert.readers.agent_source import AgentSource, agent_source

_Number = TypeVar("_Number", int, float)
_TENSOR = re.compile(r"([ABCD])_(\d+)")
_OTHERS = frozenset({"E", "policies", "A_deps", "B_deps", "policy_len", "gamma", "alpha", "meta"})


def read(path: Path) -> AgentSource:
    """Return the agent in ``path``.

    Raises
    ------
    ModelError
        The file is damaged; an array is missing, superfluous, or breaks a rule: one line that names it.
    """
    arrays = npz.read(path, ModelError)
    for key in arrays:
        if key not in _OTHERS and not _TENSOR.fullmatch(key):
            raise ModelError(
                f"{path}: {key} is not a key of pymdp models (A_0, B_0, C_0, D_0, E, policies ...)"
            )
    for key in ("A_0", "B_0"):
        if key not in arrays:
            raise ModelError(f"{path}: {key} is missing")
    return agent_source(
        path,
        _tensors(path, arrays, "A"),
        _tensors(path, arrays, "B"),
        _tensors(path, arrays, "C") or None,
        _tensors(path, arrays, "D") or None,
        E=_numbers(path, "E", arrays["E"]) if "E" in arrays else None,
        policies=arrays.get("policies"),
        A_deps=_dependencies(path, "A_deps", arrays),
        B_deps=_dependencies(path, "B_deps", arrays),
        policy_len=_scalar(path, "policy_len", arrays, 1, int),
        gamma=_scalar(path, "gamma", arrays, 16.0, float),
        alpha=_scalar(path, "alpha", arrays, 16.0, float),
        meta=_meta(path, arrays),
    )


def _tensors(path: Path, arrays: npz.Arrays, letter: str) -> list[NDArray[Any]]:
    names = [key for key in arrays if key.startswith(f"{letter}_") and _TENSOR.fullmatch(key)]
    tensors = []
    for index in range(len(names)):
        name = f"{letter}_{index}"
        if name not in arrays:
            raise ModelError(f"{path}: {name} is missing, while {', '.join(sorted(names))} are there")
        tensors.append(_numbers(path, name, arrays[name]))
    return tensors


def _numbers(path: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "biuf":
        raise ModelError(f"{path}: {name} holds {array.dtype}, expected numbers")
    return array


def _scalar(
    path: Path, name: str, arrays: npz.Arrays, default: _Number, convert: Callable[[Any], _Number]
) -> _Number:
    if name not in arrays:
        return default
    array = arrays[name]
    if array.shape != () or array.dtype.kind not in ("iu" if convert is int else "iuf"):
        raise ModelError(f"{path}: {name} is {array.dtype} {array.shape}, expected one {convert.__name__}")
    return convert(array)


def _json(path: Path, name: str, array: NDArray[Any]) -> Any:
    if array.shape != () or array.dtype.kind != "U":
        raise ModelError(f"{path}: {name} is {array.dtype} {array.shape}, expected JSON text")
    try:
        return json.loads(str(array))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: {name} is not JSON ({error})") from error


def _dependencies(path: Path, name: str, arrays: npz.Arrays) -> list[list[int]] | None:
    if name not in arrays:
        return None
    value = _json(path, name, arrays[name])
    if not isinstance(value, list) or not all(
        isinstance(row, list) and all(type(factor) is int for factor in row) for row in value
    ):
        raise ModelError(f"{path}: {name} is {value!r}, expected a list of lists of factor numbers")
    return value


def _meta(path: Path, arrays: npz.Arrays) -> dict[str, Any]:
    if "meta" not in arrays:
        return {}
    value = _json(path, "meta", arrays["meta"])
    if not isinstance(value, dict):
        raise ModelError(f"{path}: meta is {type(value).__name__}, expected a JSON object")
    return value
