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
``learn``                      JSON, of "A", "B", "D" those that learn     none
``pD_0`` ...                   [S_f]                                       none; of ``learn``
``lr_pA``, ``lr_pB``,          number                                      1; of ``learn``
``lr_pD``
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
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from edge_agent.engine.options import AgentOptions
from edge_agent.engine.sparse import Sparse
from edge_agent.errors import ModelError
from edge_agent.wire import npz
from edge_convert.readers import agent_trace, sparse_npz
from edge_convert.readers.agent_source import AgentSource, agent_source

_Number = TypeVar("_Number", int, float)
Deps = Sequence[Sequence[int]]
_TENSOR = re.compile(r"(A|B|C|D|pA|pB|pD|H|I)_(\d+)")
_OPTIONS = frozenset(AgentOptions.names())
_RATES = ("lr_pA", "lr_pB", "lr_pD")
_OTHERS = (
    frozenset({"E", "policies", "A_deps", "B_deps", "policy_len", "meta", "allowed", "learn", *_RATES})
    | _OPTIONS
)


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
    arrays, stored = _by_entries(path, arrays)
    for key in (*arrays, *stored):
        known = key in _OTHERS or _TENSOR.fullmatch(key) or key.startswith(agent_trace.PREFIX)
        if not known:
            raise ModelError(
                f"{path}: {key} is not a key of pymdp models (A_0, B_0, C_0, D_0, E, policies ...)"
            )
    for key in ("A_0", "B_0"):
        if key not in arrays and key not in stored:
            raise ModelError(f"{path}: {key} is missing")
    A_deps, B_deps = (_dependencies(path, name, arrays) for name in ("A_deps", "B_deps"))
    source = agent_source(
        path,
        _weights(path, arrays, stored, "A", A_deps),
        _weights(path, arrays, stored, "B", B_deps),
        _tensors(path, arrays, "C") or None,
        _tensors(path, arrays, "D") or None,
        E=_numbers(path, "E", arrays["E"]) if "E" in arrays else None,
        policies=arrays.get("policies"),
        A_deps=A_deps,
        B_deps=B_deps,
        policy_len=_scalar(path, "policy_len", arrays, 1, int),
        options=_options(path, arrays),
        pA=_tensors(path, arrays, "pA") or None,
        pB=_tensors(path, arrays, "pB") or None,
        H=_tensors(path, arrays, "H") or None,
        I=_tensors(path, arrays, "I") or None,
        meta=_meta(path, arrays),
        allowed=_allowed(path, arrays),
    )
    if "learn" in arrays:
        source = source.learning(_learning(path, arrays))
    trace = agent_trace.read(path, arrays, source.arrays)
    return source if trace is None else source.with_trace(trace)


def _by_entries(path: Path, arrays: npz.Arrays) -> tuple[npz.Arrays, dict[str, Sparse]]:
    """Return the plain arrays, and the tensors that are stored by their entries."""
    names = sparse_npz.names(arrays)
    plain = {key: value for key, value in arrays.items() if key.rpartition(".")[0] not in names}
    for name in sorted(names):
        if name in plain:
            raise ModelError(f"{path}: {name} is there twice, as an array and by its entries")
        if name[0] not in "AB":
            raise ModelError(f"{path}: {name} is stored by its entries, expected only A and B to be")
    return plain, {name: sparse_npz.read(path, name, arrays) for name in names}


def _weights(
    path: Path, arrays: npz.Arrays, stored: Mapping[str, Sparse], letter: str, deps: Deps | None
) -> list[Any]:
    """Return A or B: arrays, or ``Sparse`` for those that are stored by their entries and large."""
    count = sum(bool(_TENSOR.fullmatch(key)) and key.startswith(f"{letter}_") for key in (*arrays, *stored))
    states = [
        len(arrays[n]) if n in arrays else stored[n].shape[0] for n in _numbered("B", {**arrays, **stored})
    ]
    out: list[Any] = []
    for i in range(count):
        name = f"{letter}_{i}"
        if name in arrays:
            out.append(_numbers(path, name, arrays[name]))
            continue
        if name not in stored:
            raise ModelError(f"{path}: {name} is missing, while there are {count} of {letter}")
        tensor = stored[name]
        own = [list(range(len(states)))] * count if letter == "A" else [[f] for f in range(count)]
        parents = [states[d] for d in (own if deps is None else deps)[i] if 0 <= d < len(states)]
        shape = (tensor.shape[0], *parents)
        if letter == "B":
            shape = (*shape, tensor.size // max(math.prod(shape), 1))
        out.append(sparse_npz.fitted(tensor, shape if tensor.ndim == 2 else tensor.shape))
    return out


def _numbered(letter: str, names: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    while f"{letter}_{len(found)}" in names:
        found.append(f"{letter}_{len(found)}")
    return found


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


def _learning(path: Path, arrays: npz.Arrays) -> dict[str, Any]:
    """Return what learns: arguments of ``Concentrations.of``."""
    kinds = _json(path, "learn", arrays["learn"])
    if not isinstance(kinds, list) or not kinds or not set(kinds) <= {"A", "B", "D"}:
        raise ModelError(f'{path}: learn is {kinds!r}, expected a list of "A", "B", "D"')
    out: dict[str, Any] = {name: _scalar(path, name, arrays, 1.0, float) for name in _RATES}
    for kind in kinds:
        given = _tensors(path, arrays, f"p{kind}")
        if not given:
            raise ModelError(f"{path}: p{kind}_0 is missing, of what learns")
        out[f"p{kind}"] = given
    return out


def _meta(path: Path, arrays: npz.Arrays) -> dict[str, Any]:
    if "meta" not in arrays:
        return {}
    value = _json(path, "meta", arrays["meta"])
    if not isinstance(value, dict):
        raise ModelError(f"{path}: meta is {type(value).__name__}, expected a JSON object")
    return value
