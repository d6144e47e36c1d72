"""Reads the arrays of a pymdp agent out of a ``.npz``.

=============================  ==========================================  ==============================
key                            shape                                       default
=============================  ==========================================  ==============================
``A_0`` ...                    [O_i, *states of A_deps[i]]                 required
``B_0`` ...                    [S_f, *states of B_deps[f], U_f]            required
``C_0`` ...                    [O_i] or [T, O_i]                           zeros
``D_0`` ...                    [S_f]                                       uniform, as in pymdp
``E``                          [P]                                         uniform
``policies``                   [P, T, F]                                   all of length ``policy_len``
``A_deps``, ``B_deps``         JSON, a list of factors for each tensor     all factors; [f]
``policy_len``                 integer                                     1
``gamma``, ``alpha``           number                                      16
other options                  one value each, ``AgentOptions``' names     those of pymdp 1.x
``pA_0`` ..., ``pB_0`` ...     shaped as A and B                           none; of ``use_param_info_gain``
``H_0`` ... or ``I_0`` ...     [S_f] or [depth, S_f] of 0 and 1            none; of ``use_inductive``
``trace_obs`` ...              ``agent_trace``                             none
``allowed``                    JSON, options that the export is without    none
``meta``                       JSON object                                 {}
=============================  ==========================================  ==============================

A tensor may be given by its entries instead (``B_0.data``, ``B_0.coords`` ...): ``sparse_npz``. Whether the
numbers are a model (distributions sum to 1, shapes fit each other) is checked by the engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from edge_agent.engine.options import AgentOptions
from edge_agent.errors import ModelError
from edge_agent.wire import npz
from edge_convert import agent_trace, sparse_npz
from edge_convert.agents import AgentSource, agent_source

_Number = TypeVar("_Number", int, float)
_TENSOR = re.compile(r"(A|B|C|D|pA|pB|H|I)_(\d+)")
_OPTIONS = frozenset(AgentOptions.names())
_OTHERS = frozenset({"E", "policies", "A_deps", "B_deps", "policy_len", "meta", "allowed"}) | _OPTIONS


def read(path: Path) -> AgentSource:
    """Return the agent in ``path``.

    Raises
    ------
    ModelError
        The file is damaged; an array is missing, superfluous, or breaks a rule: one line that names it.
    """
    return source_of(path, npz.read(path, ModelError))


def source_of(path: Path, arrays: npz.Arrays) -> AgentSource:
    """Return the agent in the arrays of a file; ``path`` is what messages call it. See ``read``."""
    arrays = _spread(path, arrays)
    for key in arrays:
        known = key in _OTHERS or _TENSOR.fullmatch(key) or key.startswith(agent_trace.PREFIX)
        if not known:
            raise ModelError(
                f"{path}: {key} is not a key of pymdp models (A_0, B_0, C_0, D_0, E, policies ...)"
            )
    for key in ("A_0", "B_0"):
        if key not in arrays:
            raise ModelError(f"{path}: {key} is missing")
    source = agent_source(
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
        options=_options(path, arrays),
        pA=_tensors(path, arrays, "pA") or None,
        pB=_tensors(path, arrays, "pB") or None,
        H=_tensors(path, arrays, "H") or None,
        I=_tensors(path, arrays, "I") or None,
        meta=_meta(path, arrays),
        allowed=_allowed(path, arrays),
    )
    trace = agent_trace.read(path, arrays, source.arrays)
    return source if trace is None else source.with_trace(trace)


def _spread(path: Path, arrays: npz.Arrays) -> npz.Arrays:
    """Return the arrays with each tensor that is stored by its entries spread out."""
    stored = sparse_npz.names(arrays)
    out = {key: value for key, value in arrays.items() if key.rpartition(".")[0] not in stored}
    for name in sorted(stored):
        if name in out:
            raise ModelError(f"{path}: {name} is there twice, as an array and by its entries")
        out[name] = sparse_npz.dense(path, name, arrays)
    return out


def _options(path: Path, arrays: npz.Arrays) -> AgentOptions:
    stated = {}
    for name in _OPTIONS & set(arrays):
        array = arrays[name]
        if array.size != 1 or array.dtype.kind not in "biufU":
            raise ModelError(f"{path}: {name} is {array.dtype} {array.shape}, expected one value")
        stated[name] = array.item()
    try:
        return AgentOptions.from_plain(stated)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _allowed(path: Path, arrays: npz.Arrays) -> tuple[str, ...]:
    if "allowed" not in arrays:
        return ()
    value = _json(path, "allowed", arrays["allowed"])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ModelError(f"{path}: allowed is {value!r}, expected a list of names")
    return tuple(value)


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
