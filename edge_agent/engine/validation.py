"""The rules a model's arrays must keep; every message names tensor, index and rule.

A model is checked once, here. The kernel trusts what comes after.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine.options import AgentOptions
from edge_agent.engine.sparse import Sparse, Weights, column_sums
from edge_agent.errors import ModelError

SUM_TOLERANCE = 1e-4  # float32 exports of large columns are off by about this
MAX_CONTROLS = 250  # an action is one byte, and a few codes are taken
MAX_OUTCOMES = 32_767
MAX_POLICIES = 65_536
MAX_POLICY_LEN = 64
MAX_FACTORS = 16
MAX_MODALITIES = 64
NODE_BYTES = 32  # of a search's node in the kernel, without its belief
MAX_SEARCH_BYTES = 2**26
MAX_WINDOW_BYTES = 2**26
ROW_BYTES = 256  # of scratch memory: a float of 64 lanes
MAX_PREFERENCE = 1e30  # sums over a policy stay within float32

Float = NDArray[np.float64]


def tensors(letter: str, values: Sequence[ArrayLike]) -> tuple[Float, ...]:
    """Return float64 copies; refuse none at all, non-numbers and non-finite entries."""
    if len(values) == 0:
        raise ModelError(f"{letter}: no tensor, expected at least one")
    return tuple(_tensor(f"{letter}_{i}", value) for i, value in enumerate(values))


def _tensor(name: str, value: ArrayLike) -> Float:
    try:
        array = np.array(value, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name}: not an array of numbers ({error})") from error
    if array.ndim == 0 or array.size == 0:
        raise ModelError(f"{name}: shape {array.shape}, expected at least one entry a dimension")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = tuple(bad[0].tolist())
        raise ModelError(f"{name}: entry {where} is {array[where]}, expected a finite number")
    return array


def weights(letter: str, values: Sequence[ArrayLike | Sparse]) -> tuple[Weights, ...]:
    """Return A or B: float64 copies, and sparse tensors as they are, whose entries are checked."""
    out: list[Weights] = []
    for i, value in enumerate(values):
        if not isinstance(value, Sparse):
            out.append(_tensor(f"{letter}_{i}", value))
            continue
        name, places = f"{letter}_{i}", value.places
        if min(value.shape, default=0) < 1 or len(places) != len(value.values):
            raise ModelError(f"{name}: {len(places)} places and {len(value.values)} values in {value.shape}")
        if len(places) and not (places[0] >= 0 and (np.diff(places) > 0).all() and places[-1] < value.size):
            raise ModelError(f"{name}: places are not ascending from 0 to {value.size - 1}")
        if not (np.isfinite(value.values).all() and math.isfinite(value.background)):
            raise ModelError(f"{name}: an entry is not finite, expected finite numbers")
        out.append(value)
    return tuple(out) if out else tensors(letter, [])


def dependencies(
    name: str,
    values: Sequence[Sequence[int]] | None,
    count: int,
    factors: int,
    default: Iterable[int] | None,
) -> tuple[tuple[int, ...], ...]:
    """Return ``values`` as tuples, or the default: the given factors, or (None) each factor itself."""
    if values is None:
        if default is None:
            return tuple((f,) for f in range(count))
        return (tuple(default),) * count
    if len(values) != count:
        raise ModelError(f"{name}: {len(values)} lists, expected {count}")
    out = []
    for i, factor_list in enumerate(values):
        deps = tuple(int(f) for f in factor_list)
        if not deps or len(set(deps)) != len(deps) or not all(0 <= f < factors for f in deps):
            raise ModelError(f"{name}[{i}]: {list(deps)}, expected distinct factors from 0 to {factors - 1}")
        out.append(deps)
    return tuple(out)


def shapes(
    A: Sequence[Weights],
    B: Sequence[Weights],
    A_deps: Sequence[Sequence[int]],
    B_deps: Sequence[Sequence[int]],
) -> None:
    """Check that A and B fit each other and that every column is a distribution."""
    if len(B) > MAX_FACTORS or len(A) > MAX_MODALITIES:
        raise ModelError(
            f"model: {len(B)} factors and {len(A)} modalities, at most {MAX_FACTORS} and {MAX_MODALITIES}"
        )
    states = [b.shape[0] for b in B]
    for f, (b, deps) in enumerate(zip(B, B_deps, strict=True)):
        middle = tuple(states[d] for d in deps)
        if b.ndim != len(deps) + 2 or b.shape[1:-1] != middle:
            wanted = (states[f], *middle, "controls")
            raise ModelError(f"B_{f}: shape {b.shape}, expected {wanted} for B_deps {list(deps)}")
        if b.shape[-1] > MAX_CONTROLS:
            raise ModelError(f"B_{f}: {b.shape[-1]} controls, at most {MAX_CONTROLS}")
        columns(f"B_{f}", b)
    for m, (a, deps) in enumerate(zip(A, A_deps, strict=True)):
        wanted_a = (a.shape[0], *(states[d] for d in deps))
        if a.shape != wanted_a:
            raise ModelError(f"A_{m}: shape {a.shape}, expected {wanted_a} for A_deps {list(deps)}")
        if a.shape[0] > MAX_OUTCOMES:
            raise ModelError(f"A_{m}: {a.shape[0]} outcomes, at most {MAX_OUTCOMES}")
        columns(f"A_{m}", a)


def columns(name: str, tensor: Weights) -> None:
    """Check that ``tensor`` is a distribution over its first axis, whatever the other indices are."""
    if isinstance(tensor, Sparse):
        below = tensor.places[tensor.values < 0]
        if len(below) or tensor.background < 0:
            place = np.unravel_index(below[0], tensor.shape) if len(below) else ()
            where = tuple(int(i) for i in place) or "elsewhere"
            raise ModelError(f"{name}: entry {where} is below 0, expected a probability")
    else:
        negative = np.argwhere(tensor < 0)
        if len(negative):
            where = tuple(negative[0].tolist())
            raise ModelError(f"{name}: entry {where} is {tensor[where]:g}, expected a probability")
    sums = np.atleast_1d(column_sums(tensor))
    off = np.argwhere(np.abs(sums - 1.0) > SUM_TOLERANCE)
    if len(off):
        where = tuple(off[0].tolist())
        raise ModelError(f"{name}: column {where} sums to {sums[where]:.6g}, expected 1")


def preferences(C: tuple[Float, ...], outcomes: Sequence[int], horizon: int) -> tuple[Float, ...]:
    """Check C: [O_m], or [T, O_m] with a row for every step of the horizon."""
    if len(C) != len(outcomes):
        raise ModelError(f"C: {len(C)} tensors, expected {len(outcomes)}, one a modality")
    for m, (c, n) in enumerate(zip(C, outcomes, strict=True)):
        if c.shape not in ((n,), (horizon, n)):
            raise ModelError(f"C_{m}: shape {c.shape}, expected ({n},) or ({horizon}, {n})")
        large = np.argwhere(np.abs(c) > MAX_PREFERENCE)
        if len(large):
            where = tuple(large[0].tolist())
            raise ModelError(f"C_{m}: entry {where} is {c[where]:g}, expected {MAX_PREFERENCE:g} at most")
    return C


def priors(D: tuple[Float, ...], sizes: Sequence[int], letter: str = "D") -> tuple[Float, ...]:
    """Check D (or E): one distribution of the right length a factor."""
    if len(D) != len(sizes):
        raise ModelError(f"{letter}: {len(D)} tensors, expected {len(sizes)}")
    for f, (d, n) in enumerate(zip(D, sizes, strict=True)):
        name = letter if letter == "E" else f"{letter}_{f}"
        if d.shape != (n,):
            raise ModelError(f"{name}: shape {d.shape}, expected ({n},)")
        columns(name, d)
    return D


def policies(values: ArrayLike, controls: Sequence[int]) -> NDArray[np.int64]:
    """Check policies [P, T, F] against the number of controls a factor."""
    array = np.array(values)
    if array.dtype.kind not in "iu" or array.ndim != 3 or array.shape[2] != len(controls) or array.size == 0:
        raise ModelError(
            f"policies: {array.dtype} of shape {array.shape}, expected integers [P, T, {len(controls)}]"
        )
    if len(array) > MAX_POLICIES or array.shape[1] > MAX_POLICY_LEN:
        raise ModelError(
            f"policies: {len(array)} of {array.shape[1]} steps, at most {MAX_POLICIES} of {MAX_POLICY_LEN}"
        )
    plans: NDArray[np.int64] = array.astype(np.int64)
    bad = np.argwhere((plans < 0) | (plans >= np.array(controls)))
    if len(bad):
        p, t, f = bad[0].tolist()
        raise ModelError(
            f"policies: entry {(p, t, f)} is {plans[p, t, f]}, expected 0 to {controls[f] - 1} for factor {f}"
        )
    return plans


def search(options: AgentOptions, plans: NDArray[np.int64], habits: Float, states: Sequence[int]) -> None:
    """Check that a sophisticated search fits policies [P, T, F], E [P] and the states of every factor."""
    if not options.sophisticated:
        return
    count, steps = plans.shape[:2]
    if steps != 1:
        raise ModelError(
            f"sophisticated: policies of {steps} steps, expected 1; si_horizon says how far it looks"
        )
    if count > options.si_max_branching:
        raise ModelError(f"si_max_branching: {options.si_max_branching}, expected {count}, one a policy")
    if options.si_max_nodes < count + 3:
        raise ModelError(f"si_max_nodes: {options.si_max_nodes}, expected at least {count + 3}")
    room = options.si_max_nodes * (NODE_BYTES + 4 * sum(states))
    if room > MAX_SEARCH_BYTES:
        raise ModelError(
            f"si_max_nodes: {options.si_max_nodes} nodes of {sum(states)} states need {room} bytes, "
            f"at most {MAX_SEARCH_BYTES}"
        )
    if (habits != habits[0]).any():
        raise ModelError("E: a sophisticated search has no prior over policies, expected none")


def window(options: AgentOptions, A: Sequence[Weights], states: Sequence[int]) -> None:
    """Check that messages over a window of ticks fit the scratch memory of a thread."""
    if not options.windowed:
        return
    joint = sum(math.prod(a.shape[1:]) for a in A if a.ndim > 2)
    rows = 2 * sum(states) + (2 * sum(states) + joint if joint else 0)
    room = options.inference_horizon * rows * ROW_BYTES
    if room > MAX_WINDOW_BYTES:
        raise ModelError(
            f"inference_horizon: {options.inference_horizon} ticks of {sum(states)} states need {room} "
            f"bytes, at most {MAX_WINDOW_BYTES}"
        )


def policy_count(controls: Sequence[int], policy_len: int) -> None:
    """Refuse a horizon whose policies could not be listed."""
    if isinstance(policy_len, bool) or not isinstance(policy_len, int | np.integer) or policy_len < 1:
        raise ModelError(f"policy_len: {policy_len!r}, expected an integer from 1")
    if policy_len > MAX_POLICY_LEN:
        raise ModelError(f"policy_len: {policy_len}, at most {MAX_POLICY_LEN}")
    count = math.prod(controls) ** int(policy_len)
    if count > MAX_POLICIES:
        raise ModelError(f"policy_len: {policy_len} makes {count} policies, at most {MAX_POLICIES}")


def counts(values: tuple[Float, ...], like: Sequence[Weights], letter: str) -> tuple[Float, ...]:
    """Check Dirichlet counts: shaped as the tensors they are of, none below 0."""
    if len(values) != len(like):
        raise ModelError(f"{letter}: {len(values)} tensors, expected {len(like)}")
    for i, (value, tensor) in enumerate(zip(values, like, strict=True)):
        if value.shape != tensor.shape:
            raise ModelError(f"{letter}_{i}: shape {value.shape}, expected {tensor.shape}")
        negative = np.argwhere(value < 0)
        if len(negative):
            where = tuple(negative[0].tolist())
            raise ModelError(f"{letter}_{i}: entry {where} is {value[where]:g}, expected a count from 0")
    return values


def indicators(values: tuple[Float, ...], states: Sequence[int], letter: str) -> tuple[Float, ...]:
    """Check H ([S_f] a factor) or I ([depth, S_f] a factor): arrays of 0 and 1."""
    if len(values) != len(states):
        raise ModelError(f"{letter}: {len(values)} tensors, expected {len(states)}, one a factor")
    for f, (value, n) in enumerate(zip(values, states, strict=True)):
        wanted = (n,) if letter == "H" else (len(value), n)
        if value.shape != wanted:
            raise ModelError(f"{letter}_{f}: shape {value.shape}, expected {wanted}")
        odd = np.argwhere((value != 0) & (value != 1))
        if len(odd):
            where = tuple(odd[0].tolist())
            raise ModelError(f"{letter}_{f}: entry {where} is {value[where]:g}, expected 0 or 1")
    return values
