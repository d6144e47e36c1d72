"""A bundle's payload: a model's arrays as ``.npy`` entries, and ``model.json``: how they hang together.

Loaded arrays are views of the mapped file. What they claim is checked once, by the rules for users' arrays.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import storage, validation
from edge_agent.engine.arrays import Deps, all_policies, model_arrays
from edge_agent.engine.learning import Learning
from edge_agent.engine.options import BEFORE_OPTIONS, RULES, AgentOptions
from edge_agent.engine.policy_tree import Folds, groups_of
from edge_agent.engine.sparse import Sparse, Weights, column_sums
from edge_agent.engine.storage import Tensor
from edge_agent.engine.stored_model import StoredModel
from edge_agent.wire import bundle as bundles

DESCRIPTION = "model.json"
MAX_ENTRIES = 2**24
"""Of A and B of a bundle together: sparse files can claim tensors that no memory holds."""
MALFORMED = (ValueError, TypeError, OverflowError, IndexError, RecursionError)
"""What a description or arrays of another form than ours lead to."""


def fields(payload: Mapping[str, bytes | memoryview]) -> dict[str, Any]:
    """Return the fields of a model that its payload gives; nothing was checked yet.

    Raises
    ------
    KeyError, or one of ``MALFORMED``
        An entry is missing, damaged, or not part of the model.
    """
    text = json.loads(bytes(payload[DESCRIPTION]))
    arrays = {key: storage.mapped(data) for key, data in payload.items() if key != DESCRIPTION}
    used = _Seen(arrays)
    A = tuple(storage.loaded(f"A_{i}", d, used) for i, d in enumerate(text["A"]))
    B = tuple(storage.loaded(f"B_{i}", d, used) for i, d in enumerate(text["B"]))
    A_deps, B_deps = (tuple(tuple(map(int, deps)) for deps in text[key]) for key in ("A_deps", "B_deps"))
    groups = groups_of(A_deps)
    controls = [b.rows // max(len(used[f"D_{f}.npy"]), 1) for f, b in enumerate(B)]
    claimed = sum(t.rows + t.width + len(t.codes) for t in (*A, *B))
    claimed += sum(a.rows * a.width for a, deps in zip(A, A_deps, strict=False) if len(deps) > 1)
    if claimed > MAX_ENTRIES:
        raise ValueError(f"A and B claim {claimed} entries, at most {MAX_ENTRIES}")
    if "policies.npy" in arrays:
        policies = validation.policies(used["policies.npy"], controls)
    else:
        validation.policy_count(controls, text["policy_len"])
        policies = all_policies(controls, text["policy_len"])
    out = {
        "A": A,
        "B": B,
        "C": tuple(used[f"C_{i}.npy"] for i in range(len(A))),
        "D": tuple(used[f"D_{i}.npy"] for i in range(len(B))),
        "E": used["E.npy"] if "E.npy" in arrays else None,
        "policies": policies,
        "A_deps": A_deps,
        "B_deps": B_deps,
        "folds": Folds(
            groups,
            tuple(used[f"utility_{g}.npy"] for g in range(len(groups))),
            tuple(used[f"ambiguity_{g}.npy"] for g in range(len(groups))),
        ),
        "options": _options(text),
        "belief_bits": tuple(map(int, text.get("belief_bits", [8] * len(B)))),
        "rules": RULES if "options" in text else 1,
        "novelty": {
            int(i): storage.loaded(f"novelty_{i}", d, used, math.inf)
            for i, d in text.get("novelty", {}).items()
        },
        "learning": _learning(text["learning"], used) if "learning" in text else None,
        "ways": tuple(used[f"I_{f}.npy"] for f in range(len(B))) if "I_0.npy" in arrays else (),
    }
    unused = sorted(set(arrays) - used.seen)
    if unused:
        raise ValueError(f"{unused[0]} is not part of the model")
    return out


def _learning(text: Mapping[str, Any], used: Mapping[str, NDArray[Any]]) -> Learning:
    A, B = (
        tuple(
            None if one is None else storage.loaded(f"p{letter}_{i}", one, used, math.inf)
            for i, one in enumerate(text[letter])
        )
        for letter in "AB"
    )
    D = tuple(used[f"pD_{f}.npy"] if one else None for f, one in enumerate(text["D"]))
    lr_pA, lr_pB, lr_pD = float(text["lr_pA"]), float(text["lr_pB"]), float(text["lr_pD"])
    return Learning(A, B, D, lr_pA, lr_pB, lr_pD, bool(text["masked"]))


def _check_learning(model: StoredModel, learning: Learning) -> None:
    from edge_agent.engine.counts.concentrations import Concentrations  # few models learn

    for letter, own, tensors in (("A", model.A, learning.A), ("B", model.B, learning.B)):
        if len(tensors) != len(own):
            raise ValueError(f"p{letter}: {len(tensors)} tensors, expected {len(own)}")
        for i, (counts, tensor) in enumerate(zip(tensors, own, strict=True)):
            if counts is not None:
                _fits(f"p{letter}_{i}", counts, tensor.width, tensor.rows)
    for f, prior in enumerate(learning.D):
        if prior is not None and (prior.dtype != np.float32 or prior.shape != model.D[f].shape):
            raise ValueError(f"pD_{f}: expected {len(model.D[f])} float32 values")
    Concentrations.carried(model).check(model)


def _options(text: Mapping[str, Any]) -> AgentOptions:
    if "options" in text:
        return AgentOptions.from_plain(text["options"])
    return replace(BEFORE_OPTIONS, gamma=float(text["gamma"]), alpha=float(text["alpha"]))


def check(model: StoredModel) -> None:
    """Check what a bundle's arrays claim, by the rules that ``Model.from_arrays`` checks.

    Raises
    ------
    ValueError, ModelError
        The message names the array and the rule.
    """
    if any(len(d) == 0 for d in model.D):
        raise ValueError("D: a factor without states")
    for index, (a, width) in enumerate(zip(model.A, _widths(model, model.A_deps), strict=True)):
        _fits(f"A_{index}", a, width, model.num_obs[index])
    for index, (b, width) in enumerate(zip(model.B, _widths(model, model.B_deps), strict=True)):
        _fits(f"B_{index}", b, width, model.num_states[index] * model.num_controls[index])
    for array in (*model.C, *model.D, *model.folds.utility, *model.folds.ambiguity):
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError("a vector is not of finite float32 values")
    arrays = model.arrays()
    tolerance = 0.02  # palettes of dense tensors leave columns a little off 1
    for name, tensors in (("A", arrays.A), ("B", arrays.B)):
        for i, tensor in enumerate(tensors):
            off = np.abs(column_sums(tensor) - 1.0).max()
            if off > tolerance:
                raise ValueError(f"{name}_{i}: a column sums to 1 +- {off:.3g}, expected 1")
    model_arrays(
        [_even(a) for a in arrays.A],
        [_even(b) for b in arrays.B],
        model.C,
        model.D,
        E=model.E,
        policies=model.policies,
        A_deps=model.A_deps,
        B_deps=model.B_deps,
        options=replace(model.options, use_param_info_gain=False),
        I=model.ways or None,
    )
    stored = (*model.A, *model.B)
    if len(model.belief_bits) != len(model.B) or not {8, 16}.issuperset(model.belief_bits):
        raise ValueError(f"belief_bits: {list(model.belief_bits)}, expected {len(model.B)} times 8 or 16")
    if model.options.use_param_info_gain and not model.novelty:
        raise ValueError("use_param_info_gain: there is no novelty tensor")
    for i, weights in model.novelty.items():
        if not 0 <= i < len(stored):
            raise ValueError(f"novelty_{i}: there are {len(stored)} tensors")
        _fits(f"novelty_{i}", weights, stored[i].width, stored[i].rows)
    if model.learning is not None:
        _check_learning(model, model.learning)
    if any(ways.dtype != np.uint8 for ways in model.ways):
        raise ValueError("I: expected uint8")
    for deps, utility, ambiguity in zip(
        model.folds.groups, model.folds.utility, model.folds.ambiguity, strict=True
    ):
        size = int(np.prod([model.num_states[d] for d in deps]))
        if utility.ndim != 2 or utility.shape[0] not in (1, model.policy_len):
            raise ValueError(f"utility: shape {utility.shape}, expected 1 or {model.policy_len} rows")
        if utility.shape[1] != size or ambiguity.shape != (size,):
            raise ValueError(f"utility, ambiguity: expected {size} states")
    model.plan(model.policy_len, True)
    _ = model.elimination  # its size is checked


def _even(tensor: Weights) -> Sparse:
    """Return even distributions in the shape of ``tensor``."""
    return Sparse(tensor.shape, np.zeros(0, np.int64), np.zeros(0), 1.0 / tensor.shape[0])


def entries(model: StoredModel) -> dict[str, bytes]:
    """Return the payload of a bundle; the same model gives the same bytes."""
    description: dict[str, Any] = {
        "A": [storage.described(a) for a in model.A],
        "B": [storage.described(b) for b in model.B],
        "A_deps": model.A_deps,
        "B_deps": model.B_deps,
        "policy_len": model.policy_len,
    }
    if model.rules == 1:
        description |= {"gamma": model.gamma, "alpha": model.alpha}
    else:
        description["options"] = model.options.changed()
    if max(model.belief_bits) > 8:
        description["belief_bits"] = model.belief_bits
    if model.novelty:
        description["novelty"] = {str(i): storage.described(w) for i, w in model.novelty.items()}
    learning = model.learning
    if learning is not None:
        description["learning"] = {
            "A": [None if one is None else storage.described(one) for one in learning.A],
            "B": [None if one is None else storage.described(one) for one in learning.B],
            "D": [one is not None for one in learning.D],
            "lr_pA": learning.lr_pA,
            "lr_pB": learning.lr_pB,
            "lr_pD": learning.lr_pD,
            "masked": learning.masked,
        }
    out = {DESCRIPTION: bundles.canonical_json(description)}
    if learning is not None:
        for letter, counts in (("pA", learning.A), ("pB", learning.B)):
            for i, one in enumerate(counts):
                out |= {} if one is None else storage.entries(f"{letter}_{i}", one)
        out |= {f"pD_{f}.npy": storage.npy(d) for f, d in enumerate(learning.D) if d is not None}
    for letter, tensors in (("A", model.A), ("B", model.B)):
        for i, tensor in enumerate(tensors):
            out |= storage.entries(f"{letter}_{i}", tensor)
    for i, tensor in model.novelty.items():
        out |= storage.entries(f"novelty_{i}", tensor)
    vectors: dict[str, Sequence[NDArray[Any]]] = {
        "C": model.C,
        "D": model.D,
        "utility": model.folds.utility,
        "ambiguity": model.folds.ambiguity,
        "I": model.ways,
    }
    for label, arrays in vectors.items():
        out |= {f"{label}_{i}.npy": storage.npy(array) for i, array in enumerate(arrays)}
    if model.E is not None:
        out["E.npy"] = storage.npy(model.E)
    if not _has_all_policies(model):
        out["policies.npy"] = storage.npy(model.policies.astype(np.uint8))
    return out


def digest(model: StoredModel) -> str:
    """Return the SHA-256 in hex over the payload: models with the same digest act alike."""
    total = hashlib.sha256()
    for name, data in sorted(entries(model).items()):
        total.update(f"{name}:{len(data)}:".encode() + data)
    return total.hexdigest()


def _widths(model: StoredModel, dependencies: Deps) -> list[int]:
    for deps in dependencies:
        if not deps or not all(0 <= d < len(model.B) for d in deps):
            raise ValueError(f"dependencies {list(deps)}, expected factors from 0 to {len(model.B) - 1}")
    return [math.prod(model.num_states[d] for d in deps) for deps in dependencies]


class _Seen(Mapping[str, NDArray[Any]]):
    """A mapping that remembers which keys were asked for."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays, self.seen = arrays, set[str]()

    def __getitem__(self, key: str) -> NDArray[Any]:
        self.seen.add(key)
        return self.arrays[key]

    def __iter__(self) -> Any:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def _fits(name: str, tensor: Tensor, width: int, rows: int) -> None:
    if tensor.width != width or tensor.rows != rows:
        raise ValueError(f"{name}: {tensor.rows} x {tensor.width}, expected {rows} x {width}")


def _has_all_policies(model: StoredModel) -> bool:
    count = math.prod(model.num_controls) ** model.policy_len
    return count == len(model.policies) and np.array_equal(
        model.policies, all_policies(model.num_controls, model.policy_len)
    )
